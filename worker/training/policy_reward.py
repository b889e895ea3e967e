"""The reward of a policy's training, with its record; scaled here if no reward model is fitted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.domain.plan import RoundPlan
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import reasoning
from worker.rlhf.reward.normalizer import Normalizer
from worker.rlhf.reward.scoring import RewardFunction
from worker.training import reward, reward_parts
from worker.training.reward_sources import RewardReading, RewardSources
from worker.training.training_loop import RunPlace

RECORD: Final = "reward.json"  # in the folder of the run


@dataclass(frozen=True, slots=True)
class PolicyReward:
    """What a policy is rewarded for.

    Attributes:
        function: the reward.
        normaliser: the scale of the reward model, or none.
        record: weights, parts with their scales, and the combination.
        model: the settings of the reward model's training; empty without one.
    """

    function: RewardFunction
    normaliser: Normalizer = field(default_factory=Normalizer)
    record: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)


def of_parts(
    place: RunPlace,
    roles: Roles,
    plan: RoundPlan,
    prompts: Sequence[PromptItem],
    sources: RewardSources,
    reading: RewardReading,
    learned: RewardFunction | None = None,
) -> PolicyReward:
    """Build the plan's parts, and scale them on the start model's own responses.

    Args:
        place: where the run takes place.
        roles: the base, with the SFT adapter if any, before the policy is added.
        plan: of the round.
        prompts: of which the first are completed to fit the scales.
        sources: of the parts.
        reading: how the parts read the prompts.
        learned: a reward model with its scale, if the sum has one.

    Raises:
        Invalid: a part cannot be used.
    """
    settings = plan.reward if learned is not None else replace(plan.reward, weight=0.0)
    built = reward_parts.build(settings, sources, reading)
    items = prompts[: plan.reward.normaliser_prompts]

    def known() -> dict[str, Any] | None:
        kept = place.workdir / RECORD
        if not kept.is_file():
            return None
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found  # a resumed run keeps the scales that it began with

    def fit() -> dict[str, Any]:
        responses = reasoning.branches(roles.loaded, reward.own_responses(roles, items, plan))
        return reward_parts.recorded(settings, built, responses, learned)

    def keep(record: dict[str, Any]) -> dict[str, Any]:
        (place.workdir / RECORD).write_text(json.dumps(record), encoding="utf-8")
        return record

    record = place.once(known)
    if record is None:
        place.say("Scaling the rewards on the model's own responses …")
        # Every process takes part in the passes of a divided model.
        together = fit() if roles.team.is_sharding else None
        record = place.once(lambda: keep(together or fit()))
    function = reward_parts.scaled(record, built, learned, reading.safety_prompts)
    return PolicyReward(reasoning.ignoring(function, roles.loaded), record=record)
