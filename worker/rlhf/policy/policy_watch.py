"""Watches a policy run: held-out looks, samples for people, the best weights, and when to stop.

Shared by all algorithms that train a policy. Those that learn from answers of their own are seen at
every step, the others (DPO, best of n) at the looks. What it remembers is in the state.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from worker.rlhf.core.examples import PromptItem
from worker.rlhf.core.step_report import Sample, StepReport
from worker.rlhf.core.training_state import Json, TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import kl, rollout, stopping
from worker.rlhf.policy.rollout import Forward, Rollout
from worker.rlhf.policy.stopping import Observation, Rule, Stop
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.sampling.sampling import SamplingConfig


def default_rules() -> tuple[Rule, ...]:
    """Return the rules of a run that nobody configured: the alarms, and no early success."""
    return (
        stopping.KlBudget(sqrt_kl=4.0),
        stopping.HeldoutPeak(),
        stopping.Disagreement(),
        stopping.LengthDrift(),
        stopping.EntropyCollapse(),
    )


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """How a policy run is watched. `prompts` held-out prompts at most are answered at each look."""

    every: int = 5
    prompts: int = 64
    samples: int = 4
    seed: int = 20_011
    rules: tuple[Rule, ...] = field(default_factory=default_rules)


@dataclass(frozen=True, slots=True)
class Look:
    """What the policy does on held-out prompts."""

    reward: float
    kl_nats: float
    length: float
    entropy: float
    disagreement: float | None
    samples: tuple[Sample, ...]


class Watch:
    """Keeps the history of a run and judges it."""

    def __init__(
        self,
        roles: Roles,
        heldout: Sequence[PromptItem],
        reward: RewardFunction,
        config: WatchConfig,
        sampling: SamplingConfig,
        forward: Forward,
        state: TrainingState,
    ) -> None:
        self.roles, self.reward, self.config, self.state = roles, reward, config, state
        self.heldout = heldout[: config.prompts]
        self.sampling = rollout.seeded(sampling, config.seed, 0)
        self.forward = forward

    def look_at_the_start(self, kl_coefficient: float) -> None:
        """Record where the run began, once: the rules compare with it, and it may stay the best."""
        if "history" in self.state.values:
            return
        self.state.values["history"] = []
        if not self.heldout:
            return
        look = self._look()
        self._remember(_of_look(0, look))
        self.state.keep_best(look.reward - kl_coefficient * look.kl_nats)

    def report(
        self, metrics: dict[str, float], kl_coefficient: float, *, steps_total: int
    ) -> StepReport:
        """Look where it is time, keep the best weights, decide whether to stop, and report."""
        step = self.state.step
        look = self._look() if self._is_time(step, steps_total) else None
        stop = self._verdict(_observation(step, metrics, look), steps_total)
        if look is not None:
            objective = look.reward - kl_coefficient * look.kl_nats
            metrics |= _figures(look) | {"heldout/objective": objective}
            if stop is None or not stop.is_alarm:
                self.state.keep_best(objective)
        if stop is not None:
            self.state.values["stop_reason"] = stop.reason
            self.state.values["stopped_by_alarm"] = stop.is_alarm
            self.state.load_best()
        if self.state.best is not None:
            metrics |= {
                "best/step": float(self.state.best.step),
                "best/objective": self.state.best.value,
            }
        samples = () if look is None else look.samples
        return StepReport(step, steps_total, metrics, samples, stop.reason if stop else None)

    @property
    def history(self) -> list[Observation]:
        """All observations so far, the last one is now."""
        entries = cast(list[dict[str, Any]], self.state.values["history"])
        return [Observation(**entry) for entry in entries]

    def _verdict(self, seen: Observation | None, steps_total: int) -> Stop | None:
        """Remember a step and judge the run; one that nobody looked at can only be the last."""
        if seen is not None:
            self._remember(seen)
            return stopping.check(self.config.rules, self.history, steps_total=steps_total)
        is_last = self.state.step >= steps_total
        return Stop(f"steps: all {steps_total} done", is_alarm=False) if is_last else None

    def _is_time(self, step: int, steps_total: int) -> bool:
        return bool(self.heldout) and (step % self.config.every == 0 or step == steps_total)

    def _remember(self, seen: Observation) -> None:
        cast(list[Json], self.state.values["history"]).append(asdict(seen))

    def _look(self) -> Look:
        """Answer the held-out prompts, with the same chances at every look."""
        batch = rollout.collect(
            self.roles, self.heldout, self.reward, self.sampling, self.forward, with_values=False
        )
        is_response, scores = batch.episodes.is_response, batch.scores
        distance = kl.k1(batch.logprobs, batch.reference)[is_response].sum()
        return Look(
            reward=float(scores.normalised.mean()),
            kl_nats=float(distance) / len(self.heldout),
            length=float(batch.episodes.lengths.float().mean()),
            entropy=float(batch.entropy[is_response].mean()),
            disagreement=None if scores.spread is None else float(scores.spread.mean()),
            samples=self._samples(batch),
        )

    def _samples(self, batch: Rollout) -> tuple[Sample, ...]:
        shown = range(min(self.config.samples, len(batch.episodes.prompts)))
        tokenizer = self.roles.loaded.tokenizer
        return tuple(
            Sample(
                prompt=cast(str, tokenizer.decode(list(batch.episodes.prompts[row].prompt_ids))),
                completion=batch.episodes.completions[row].text,
                score=float(batch.scores.normalised[row]),
            )
            for row in shown
        )


def _observation(step: int, metrics: dict[str, float], look: Look | None) -> Observation | None:
    """Return what a step looked like; one without episodes of its own is seen by its look alone."""
    if "reward/normalised" not in metrics:
        return None if look is None else _of_look(step, look)
    return Observation(
        step=step,
        reward=metrics["reward/normalised"],
        kl_nats=metrics["kl/k1"],
        length=metrics["length/mean"],
        entropy=metrics["entropy"],
        disagreement=metrics.get("reward/disagreement"),
        heldout_reward=None if look is None else look.reward,
        heldout_kl_nats=None if look is None else look.kl_nats,
    )


def _of_look(step: int, look: Look) -> Observation:
    return Observation(
        step=step,
        reward=look.reward,
        kl_nats=look.kl_nats,
        length=look.length,
        entropy=look.entropy,
        disagreement=look.disagreement,
        heldout_reward=look.reward,
        heldout_kl_nats=look.kl_nats,
    )


def _figures(look: Look) -> dict[str, float]:
    return {
        "heldout/reward": look.reward,
        "heldout/kl": look.kl_nats,
        "heldout/length": look.length,
        "heldout/entropy": look.entropy,
    }
