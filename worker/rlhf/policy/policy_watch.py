"""Monitoring of policy training: held-out evaluation, samples, best weights and stopping.

Shared by all algorithms that train a policy. Those that learn from the policy's own responses are
observed at every step, the others (DPO, best-of-n) at held-out evaluations. The history is kept in
the training state.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.core.step_report import Sample, StepReport
from worker.rlhf.core.training_state import Json, TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import fresh_votes, kl, rollout, served_rollout, stopping
from worker.rlhf.policy.fresh_votes import FreshPair, FreshVotes
from worker.rlhf.policy.rollout import Forward, Rollout
from worker.rlhf.policy.stopping import Observation, Rule, Stop
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.served_policy import ServedPolicy


def default_rules() -> tuple[Rule, ...]:
    """Return the default rules: all alarms, and no rule that ends a run on success."""
    return (
        stopping.KlBudget(sqrt_kl=4.0),
        stopping.HeldoutPeak(),
        stopping.Disagreement(),
        stopping.LengthDrift(),
        stopping.EntropyCollapse(),
    )


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """How a run is monitored; at most `prompts` held-out prompts are used per evaluation."""

    every: int = 5
    prompts: int = 64
    samples: int = 4
    seed: int = 20_011
    rules: tuple[Rule, ...] = field(default_factory=default_rules)


@dataclass(frozen=True, slots=True)
class HeldoutEvaluation:
    """Means over the policy's responses to held-out prompts."""

    reward: float
    kl_nats: float
    length: float
    entropy: float
    disagreement: float | None
    samples: tuple[Sample, ...]
    completions: tuple[SampledCompletion, ...]
    rewards: tuple[float, ...]  # by prompt
    parts: dict[str, float] = field(default_factory=dict)


class PolicyWatch:
    """Records the history of a run, keeps the best weights and decides when to stop."""

    def __init__(
        self,
        roles: Roles,
        heldout: Sequence[PromptItem],
        reward: RewardFunction,
        config: WatchConfig,
        sampling: SamplingConfig,
        forward: Forward,
        state: TrainingState,
        fresh: FreshVotes | None = None,
        served: ServedPolicy | None = None,
    ) -> None:
        self.roles, self.reward, self.config, self.state = roles, reward, config, state
        self.heldout = heldout[: config.prompts]
        self.sampling = rollout.seeded(sampling, config.seed, 0)
        self.forward = forward
        self.fresh, self.served = fresh, served
        self._start_samples: tuple[Sample, ...] = ()

    def evaluate_start(self, kl_coefficient: float) -> None:
        """Evaluate the initial policy, once: rules compare with it, and it may remain the best."""
        if "history" in self.state.values:
            return
        self.state.values["history"] = []
        if not self.heldout:
            return
        evaluation = self._evaluate()
        self._start_samples = evaluation.samples
        self._record(_observation_of(0, evaluation))
        self.state.keep_best(evaluation.reward - kl_coefficient * evaluation.kl_nats)

    def report(
        self, metrics: dict[str, float], kl_coefficient: float, *, steps_total: int
    ) -> StepReport:
        """Evaluate if due, keep the best weights, decide whether to stop, and report."""
        step = self.state.step
        started = time.perf_counter()
        evaluation = self._evaluate() if self._is_due(step, steps_total) else None
        observation = _observation(step, metrics, evaluation)
        if observation is not None:
            self._record(observation)
        if evaluation is not None and self.fresh is not None:
            metrics |= self._read_fresh(self.fresh)
        stop = self._stop(observation, steps_total)
        if evaluation is not None:
            objective = evaluation.reward - kl_coefficient * evaluation.kl_nats
            metrics |= _metrics_of(evaluation) | {
                "heldout/objective": objective,
                "time/evaluate_s": time.perf_counter() - started,
            }
            if stop is None or not stop.is_alarm:
                self.state.keep_best(objective)
            if stop is None and self.fresh is not None:
                metrics |= self._ask(self.fresh, evaluation)
        if stop is not None:
            self.state.values["stop_reason"] = stop.reason
            self.state.values["stopped_by_alarm"] = stop.is_alarm
            self.state.load_best()
        if self.state.best is not None:
            metrics |= {
                "best/step": float(self.state.best.step),
                "best/objective": self.state.best.value,
            }
        samples = () if evaluation is None else evaluation.samples
        reason, start = stop.reason if stop else None, self._start_samples
        self._start_samples = ()
        return StepReport(step, steps_total, metrics, samples, reason, start)

    @property
    def history(self) -> list[Observation]:
        """All observations so far; the last one is that of the current step."""
        entries = cast(list[dict[str, Any]], self.state.values["history"])
        return [Observation(**entry) for entry in entries]

    def _stop(self, observation: Observation | None, steps_total: int) -> Stop | None:
        """Return why to stop, or None; without an observation only the last step stops."""
        if observation is not None:
            return stopping.check(self.config.rules, self.history, steps_total=steps_total)
        is_last = self.state.step >= steps_total
        return Stop(f"steps: all {steps_total} done", is_alarm=False) if is_last else None

    def _is_due(self, step: int, steps_total: int) -> bool:
        return bool(self.heldout) and (step % self.config.every == 0 or step == steps_total)

    def _record(self, observation: Observation) -> None:
        cast(list[Json], self.state.values["history"]).append(asdict(observation))

    def _read_fresh(self, fresh: FreshVotes) -> dict[str, float]:
        """Keep the votes so far with the steps they are of; return the pooled share."""
        votes = fresh.read()
        for entry in cast(list[dict[str, Any]], self.state.values["history"]):
            entry["fresh"] = [list(vote) for vote in votes.get(entry["step"], ())]
        share = fresh_votes.latest(self.history)
        metrics = {"fresh/votes": float(sum(map(len, votes.values())))}
        if share is None:
            return metrics
        interval = {"fresh/share_low": share.low, "fresh/share_high": share.high}
        return metrics | {"fresh/share": share.share, "fresh/pooled": float(share.votes)} | interval

    def _ask(self, fresh: FreshVotes, evaluation: HeldoutEvaluation) -> dict[str, float]:
        """Ask about the next held-out prompts in turn, with the same random numbers for both."""
        step, count = self.state.step, min(fresh.prompts, len(self.heldout))
        first = (step // self.config.every - 1) * count
        rows = [(first + at) % len(self.heldout) for at in range(count)]
        asked = [self.heldout[row] for row in rows]
        reference = rollout.sample(self.roles, asked, self.sampling, "reference").completions
        policy = [evaluation.completions[row] for row in rows]
        pairs = [FreshPair(*pair) for pair in zip(asked, policy, reference, strict=True)]
        differing = fresh.ask(step, pairs)
        return {"fresh/asked": float(differing), "fresh/identical": float(count - differing)}

    def _evaluate(self) -> HeldoutEvaluation:
        """Complete the held-out prompts, with the same random numbers at every evaluation."""
        batch = served_rollout.collect(
            self.roles,
            self.heldout,
            self.reward,
            self.sampling,
            self.forward,
            with_values=False,
            source=self.served.at(self.state.step, is_exact=True) if self.served else None,
        )
        is_response, scores = batch.episodes.is_response, batch.scores
        kl_sum = kl.k1(batch.logprobs, batch.reference)[is_response].sum()
        return HeldoutEvaluation(
            reward=float(scores.normalized.mean()),
            kl_nats=float(kl_sum) / len(self.heldout),
            length=float(batch.episodes.lengths.float().mean()),
            entropy=float(batch.entropy[is_response].mean()),
            disagreement=None if scores.spread is None else float(scores.spread.mean()),
            samples=self._samples(batch),
            completions=batch.episodes.completions,
            rewards=tuple(round(one, 4) for one in scores.normalized.tolist()),
            parts=rollout.part_metrics(scores, "heldout"),
        )

    def _samples(self, batch: Rollout) -> tuple[Sample, ...]:
        rows = range(min(self.config.samples, len(batch.episodes.prompts)))
        readable = {item.key: item.text for item in self.heldout}
        return tuple(
            Sample(
                prompt=readable.get(batch.episodes.prompts[row].key)
                or self._decoded(batch.episodes.prompts[row].prompt_ids),
                completion=batch.episodes.completions[row].text,
                score=float(batch.scores.normalized[row]),
                parts={name: float(part[row]) for name, part in batch.scores.parts.items()},
            )
            for row in rows
        )

    def _decoded(self, ids: Sequence[int]) -> str:
        """Return a prompt that came as tokens only, without the special ones."""
        tokenizer = self.roles.loaded.tokenizer
        return cast(str, tokenizer.decode(list(ids), skip_special_tokens=True))


def _observation(
    step: int, metrics: dict[str, float], evaluation: HeldoutEvaluation | None
) -> Observation | None:
    """Return the observation of a step, or None if it has neither episodes nor an evaluation."""
    if "reward/normalised" not in metrics:
        return None if evaluation is None else _observation_of(step, evaluation)
    return Observation(
        step=step,
        reward=metrics["reward/normalised"],
        kl_nats=metrics["kl/k1"],
        length=metrics["length/mean"],
        entropy=metrics["entropy"],
        disagreement=metrics.get("reward/disagreement"),
        heldout_reward=None if evaluation is None else evaluation.reward,
        heldout_kl_nats=None if evaluation is None else evaluation.kl_nats,
        heldout_rewards=() if evaluation is None else evaluation.rewards,
    )


def _observation_of(step: int, evaluation: HeldoutEvaluation) -> Observation:
    return Observation(
        step=step,
        reward=evaluation.reward,
        kl_nats=evaluation.kl_nats,
        length=evaluation.length,
        entropy=evaluation.entropy,
        disagreement=evaluation.disagreement,
        heldout_reward=evaluation.reward,
        heldout_kl_nats=evaluation.kl_nats,
        heldout_rewards=evaluation.rewards,
    )


def _metrics_of(evaluation: HeldoutEvaluation) -> dict[str, float]:
    return {
        "heldout/reward": evaluation.reward,
        "heldout/kl": evaluation.kl_nats,
        "heldout/length": evaluation.length,
        "heldout/entropy": evaluation.entropy,
        **evaluation.parts,
    }
