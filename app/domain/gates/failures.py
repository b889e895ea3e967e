"""What to change in the plan of a round before a failed stage is tried again.

The proposals go by the last line of the job's error. Nothing is proposed for an error that no
setting of the plan can avoid, such as a full disk.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.domain.gate_policies import Gate
from app.domain.gates import candidates
from app.domain.gates.verdicts import PlanRemedy, Setting, Verdict, working
from app.domain.plan import RoundPlan
from app.domain.states import RoundState

_MEMORY = re.compile(r"out of memory|OutOfMemory|MemoryError|can't allocate memory|killed", re.I)
_NOT_FINITE = re.compile(r"\bnan\b|not finite|non-finite|\binf\b", re.I)
_NOTHING_TO_COMPARE = re.compile(r"nothing to compare")
_NO_ROOM = re.compile(r"no room|leaves? .*room|longer than the model's context", re.I)
_TOO_LONG = re.compile(r"longer than [\d,]+ tokens|max_tokens", re.I)
_LIMITS = {RoundState.SFT: "sft.max_tokens", RoundState.REWARD: "reward.max_tokens"}
_BATCHES = {
    RoundState.SFT: "sft.batch_size",
    RoundState.GENERATING: "sampling.batch_size",
    RoundState.REWARD: "reward.batch_size",
    RoundState.POLICY: "policy.batch_size",
    RoundState.EVALUATING: "sampling.batch_size",
}
_RATES = {
    RoundState.SFT: "sft.learning_rate",
    RoundState.REWARD: "reward.learning_rate",
    RoundState.POLICY: "policy.learning_rate",
}


@dataclass(frozen=True, slots=True)
class FailureFigures:
    """The stage that failed, and its error in one line."""

    stage: RoundState
    error: str

    def verdict(self, plan: RoundPlan) -> Verdict:
        """Return the failure as a verdict; it always fires."""
        return Verdict(
            Gate.FAILURE,
            True,
            self.error,
            "a stage that succeeds",
            self.error,
            working(plan, _proposals(self.stage, self.error, plan)),
        )


def _proposals(stage: RoundState, error: str, plan: RoundPlan) -> Iterator[PlanRemedy]:
    if _MEMORY.search(error):
        yield from _smaller(stage, plan)
    elif _NOT_FINITE.search(error) and stage in _RATES:
        yield from _slower(stage, plan)
    elif _NOTHING_TO_COMPARE.search(error):
        if plan.preflight.drop_cut_off:
            yield candidates.keep_cut_off(None, 0)
        yield from _set(
            "longer",
            "Raise the length limit to {:,} tokens",
            "Fewer responses are cut off.",
            "sampling.max_new_tokens",
            min(2 * plan.sampling.max_new_tokens, 32_768),
            plan,
            stage,
        )
    elif _NO_ROOM.search(error):
        yield from _set(
            "shorter",
            "Lower the length limit to {:,} tokens",
            "Prompts get more room.",
            "sampling.max_new_tokens",
            max(1, plan.sampling.max_new_tokens // 2),
            plan,
            stage,
        )
    elif _TOO_LONG.search(error) and stage in _LIMITS:
        path = _LIMITS[stage]
        limit = int(str(_value(plan, path)))
        yield from _set(
            "limit",
            "Raise the length limit to {:,} tokens",
            "Longer texts are trained on.",
            path,
            min(2 * limit, 1_000_000),
            plan,
            stage,
        )


def _smaller(stage: RoundState, plan: RoundPlan) -> Iterator[PlanRemedy]:
    path = _BATCHES.get(stage)
    if path is None:
        return
    size = int(str(_value(plan, path)))
    half = max(1, size // 2)
    changes: dict[str, Setting] = {path: half}
    if path == "policy.batch_size" and half % plan.policy.samples:
        half = max(plan.policy.samples, half - half % plan.policy.samples)
        changes[path] = half
    if path == "policy.batch_size" and plan.policy.minibatches > half:
        changes["policy.minibatches"] = half
    if half < size:
        yield PlanRemedy(
            "smaller_batch",
            f"Halve the batch size to {half:,}",
            "Less memory at a time.",
            changes,
            stage,
        )
    if stage in _RATES and not plan.checkpoints_gradients:
        yield PlanRemedy(
            "recompute",
            "Recompute activations instead of storing them",
            "Training needs much less memory and takes about a third longer.",
            {"checkpoints_gradients": True},
            stage,
        )


def _slower(stage: RoundState, plan: RoundPlan) -> Iterator[PlanRemedy]:
    rate = _value(plan, _RATES[stage])
    if rate is None:  # the default of the model's kind, which only the worker knows
        return
    slower = float(f"{float(str(rate)) / 3:.2g}")
    yield PlanRemedy(
        "slower",
        f"Train at a learning rate of {slower:g}",
        "Smaller steps are more stable.",
        {_RATES[stage]: slower},
        stage,
    )


def _set(
    key: str, label: str, effect: str, path: str, value: int, plan: RoundPlan, stage: RoundState
) -> Iterator[PlanRemedy]:
    if value != _value(plan, path):
        yield PlanRemedy(key, label.format(value), effect, {path: value}, stage)


def _value(plan: RoundPlan, path: str) -> object:
    found: object = plan
    for name in path.split("."):
        found = getattr(found, name)
    return found
