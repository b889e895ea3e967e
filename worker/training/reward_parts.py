"""What a policy is rewarded for: the learned reward model, and the plan's additional rewards.

The parts are built and scaled when the reward model is fitted, and recorded with it; a policy is
trained on what was recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from app.domain import json_dataclasses
from app.domain.plan import RewardPlan
from app.domain.reward_parts import PartKind, RewardPart
from worker.rlhf.reward import classifier
from worker.rlhf.reward.classifier import ClassifierReward
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.rule_rewards import FormatRule, LengthRule
from worker.rlhf.reward.scoring import AdapterReward, RewardFunction
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.weighted_sum import WeightedReward, WeightedSum

LEARNED = "learned"
WEIGHT, PARTS, SCALE = "weight", "parts", "scale"


def build(part: RewardPart, writer: PreTrainedTokenizerBase, device: str) -> RewardFunction:
    """Return a part of the reward as a function, loading the classifier if it is one.

    Raises:
        ValueError: the classifier has no such label.
        OSError: there is no such classifier.
    """
    match part.kind:
        case PartKind.CLASSIFIER:
            return classifier.load(
                part.model, part.label, writer, reads_prompt=part.reads_prompt, device=device
            )
        case PartKind.LENGTH:
            return LengthRule(part.shortest, part.longest)
        case PartKind.FORMAT:
            return FormatRule(part.pattern, writer)


def recorded(
    plan: RewardPlan, built: Sequence[RewardFunction], branches: Sequence[Branches]
) -> dict[str, Any]:
    """Return the record of the rewards' sum: weights, parts, and classifiers' scales.

    Args:
        plan: of the round.
        built: its parts, in order.
        branches: the start model's own responses.

    """
    parts = []
    for part, function in zip(plan.parts, built, strict=True):
        row = asdict(part)
        if isinstance(function, ClassifierReward):
            scale = function.fitted(branches).scale
            row[SCALE] = [scale.mean, scale.std]
        parts.append(row)
    return {WEIGHT: plan.weight, PARTS: parts}


def of(
    config: Mapping[str, Any],
    learned: AdapterReward,
    writer: PreTrainedTokenizerBase,
    device: str,
) -> RewardFunction:
    """Return the recorded reward; only the learned one if no other part is recorded."""
    weight, rows = float(config.get(WEIGHT, 1.0)), config.get(PARTS, [])
    if weight == 1.0 and not rows:
        return learned
    parts = [WeightedReward(LEARNED, weight, learned)]
    for number, row in enumerate(rows, start=1):
        known = {key: value for key, value in row.items() if key != SCALE}
        part: RewardPart = json_dataclasses.read(RewardPart, known, f"part {number} of the reward")
        function = build(part, writer, device)
        if isinstance(function, ClassifierReward):
            function = replace(function, scale=Scale(*row[SCALE]))
        parts.append(WeightedReward(f"{part.kind}-{number}", part.weight, function))
    return WeightedSum(tuple(parts))
