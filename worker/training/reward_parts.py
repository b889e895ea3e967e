"""What a policy is rewarded for: the learned reward model, and the plan's other rewards.

The parts are built and scaled when the reward model is fitted, or, where none is fitted, when the
policy's training begins; a policy is trained on what was recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from app.domain import json_dataclasses
from app.domain.reward_parts import LEARNED, RULES, PartKind, RewardPart
from app.domain.reward_plan import Combination, RewardPlan
from worker.rlhf.reward.classifier import ClassifierReward
from worker.rlhf.reward.endpoint import EndpointReward
from worker.rlhf.reward.judge_reward import JudgeReward
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.other_reward import OtherReward
from worker.rlhf.reward.published_reward import PublishedReward
from worker.rlhf.reward.safety_first import SafetyFirst
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.weighted_sum import WeightedReward, WeightedSum
from worker.training import reward_sources
from worker.training.reward_sources import RewardReading, RewardSources

WEIGHT, PARTS, SCALE, CHOICE = "weight", "parts", "scale", "choice_scale"
COMBINED = ("combination", "safety", "safety_threshold", "safety_tags")
"""The settings of the plan that are recorded with weights and parts."""

SCALED = (ClassifierReward, PublishedReward, OtherReward, EndpointReward, JudgeReward)
"""Rewards in units of their own, which are normalized."""


def check(plan: RewardPlan, sources: RewardSources) -> None:
    """Refuse a plan with a part that cannot be used, without loading weights.

    Raises:
        Invalid: the message names the part.
    """
    for part, title in zip(plan.parts, plan.titles, strict=True):
        reward_sources.check(part, title, sources)


def build(
    plan: RewardPlan, sources: RewardSources, reading: RewardReading
) -> tuple[RewardFunction, ...]:
    """Return the parts as functions, in order, not yet scaled.

    Raises:
        Invalid: a part cannot be used.
    """
    return tuple(
        reward_sources.build(part, title, sources, reading)
        for part, title in zip(plan.parts, plan.titles, strict=True)
    )


def recorded(
    plan: RewardPlan,
    built: Sequence[RewardFunction],
    branches: Sequence[Branches],
    learned: RewardFunction | None,
) -> dict[str, Any]:
    """Return the record of the reward: weights, parts with their scales, and the combination.

    Args:
        plan: of the round.
        built: its parts, in order.
        branches: the start model's own responses.
        learned: the reward model with its scale, if one is fitted.

    """
    rows, scaled = [], []
    for part, function in zip(plan.parts, built, strict=True):
        row = asdict(part)
        if isinstance(function, SCALED):
            function = function.fitted(branches)
            row[SCALE] = _to_row(function.scale)
        rows.append(row)
        scaled.append(function)
    settings = asdict(plan)
    record = {WEIGHT: plan.weight, PARTS: rows, **{name: settings[name] for name in COMBINED}}
    if plan.combination is Combination.SAFETY_FIRST:
        whole = _safety_first(plan, _weighted(plan, scaled, learned), frozenset())
        record[CHOICE] = _to_row(whole.fitted(branches).scale)
    return record


def record_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of the reward among the settings of a reward model."""
    names = (WEIGHT, PARTS, CHOICE, *COMBINED)
    return {name: config[name] for name in names if name in config}


def plan_of(config: Mapping[str, Any]) -> RewardPlan:
    """Return the part of a plan that was recorded."""
    rows = [
        {key: value for key, value in row.items() if key != SCALE} for row in config.get(PARTS, ())
    ]
    known = {name: config[name] for name in (WEIGHT, *COMBINED) if name in config}
    plan: RewardPlan = json_dataclasses.read(RewardPlan, {**known, PARTS: rows}, "the reward")
    return plan


def of(
    config: Mapping[str, Any],
    learned: RewardFunction | None,
    sources: RewardSources,
    reading: RewardReading,
) -> RewardFunction:
    """Return the recorded reward; only the learned one if no other part is recorded."""
    plan = plan_of(config)
    if learned is not None and plan.weight == 1.0 and not plan.parts:
        return learned
    return scaled(config, build(plan, sources, reading), learned, reading.safety_prompts)


def scaled(
    config: Mapping[str, Any],
    built: Sequence[RewardFunction],
    learned: RewardFunction | None,
    safety_prompts: frozenset[tuple[int, ...]] = frozenset(),
) -> RewardFunction:
    """Return the recorded reward from its parts, with the scales that were recorded."""
    plan = plan_of(config)
    functions = [
        replace(function, scale=Scale(*row[SCALE])) if isinstance(function, SCALED) else function
        for row, function in zip(config[PARTS], built, strict=True)
    ]
    parts = _weighted(plan, functions, learned)
    if plan.combination is Combination.SUM:
        return WeightedSum(parts)
    return replace(_safety_first(plan, parts, safety_prompts), scale=Scale(*config[CHOICE]))


def _weighted(
    plan: RewardPlan, functions: Sequence[RewardFunction], learned: RewardFunction | None
) -> tuple[WeightedReward, ...]:
    parts = [] if learned is None else [WeightedReward(LEARNED, plan.weight, learned)]
    for part, title, function in zip(plan.parts, plan.titles, functions, strict=True):
        parts.append(WeightedReward(title, part.weight, function, _floor(part, function)))
    return tuple(parts)


def _floor(part: RewardPart, function: RewardFunction) -> float | None:
    """Return a part's floor on the normalized scale."""
    if part.at_least is None or not isinstance(function, SCALED):
        return part.at_least
    return float(function.scale(torch.tensor(part.at_least)))


def _safety_first(
    plan: RewardPlan,
    parts: Sequence[WeightedReward],
    safety_prompts: frozenset[tuple[int, ...]],
) -> SafetyFirst:
    rules = {
        title for part, title in zip(plan.parts, plan.titles, strict=True) if part.kind in RULES
    }
    kinds = {title: part.kind for part, title in zip(plan.parts, plan.titles, strict=True)}
    safety = next(part for part in parts if part.name == plan.safety)
    return SafetyFirst(
        safety,
        tuple(part for part in parts if part is not safety and part.name not in rules),
        tuple(part for part in parts if part.name in rules),
        is_logit=kinds.get(plan.safety) in (None, PartKind.REWARD_MODEL),
        threshold=plan.safety_threshold,
        safety_prompts=safety_prompts,
    )


def _to_row(scale: Scale) -> list[float]:
    return [scale.mean, scale.std]
