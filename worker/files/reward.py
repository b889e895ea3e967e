"""A reward model from the judgments in a file: comparisons, ratings on criteria, thumbs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from app.domain import earlier_turns
from app.domain.reward_parts import Weighing
from app.domain.reward_plan import RewardPlan
from app.errors import Invalid
from worker.files import reward_access, rows
from worker.files.rows import JudgedRow
from worker.files.run_folder import RunFolder
from worker.files.training_request import TrainingRequest
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import reasoning
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.ranking_loss import split_by_length
from worker.rlhf.reward.reward_report import ScoredPrompt
from worker.rlhf.reward.scoring import AdapterReward, RewardFunction
from worker.training import reward, reward_figures, reward_parts, reward_search, token_ids
from worker.training.layout import HELDOUT_SCORES
from worker.training.reward import KeyedPrompt, RewardInputs
from worker.training.reward_sources import RewardReading

NOTHING_HELD_OUT: Final = "no judged row was held out"


def run(request: TrainingRequest, folder: RunFolder) -> None:
    """Fit a reward model, measure it on the held-out judgments, normalize its scores."""
    plan = request.plan
    refuse_labeler_weights(plan.reward)
    split = request.read(rows.judgments, folder)
    roles = request.roles(folder)
    split = request.fitting(split, roles, folder)
    prompts = _prompts(split.train, plan.reward.normaliser_prompts)
    parts = _parts(request, folder, roles, prompts)
    train = reasoning.rankings(roles.loaded, request.rankings(split.train, roles))
    heldout = reasoning.rankings(roles.loaded, request.rankings(split.heldout, roles))
    inputs = RewardInputs(
        plan=plan,
        train=train,
        heldout=heldout,
        criterion_weights=criterion_weights(split.train),
        prompts=prompts,
        instruction=request.instruction,
        comparisons=len(train),
    )
    inputs, searched = reward_search.settle(folder, roles, inputs)
    result = reward.fit(folder, roles, inputs, parts, save_every=request.save_every)
    if result is None:
        return
    report, scored = measure(inputs, result.reward, result.criteria)
    without_room = {"prompts_without_room": len(inputs.prompts) - len(result.items)}
    metrics = result.end.summary | searched | split.counts | report | without_room
    folder.say("Normalizing the scores on the model's own responses …")
    settings = {**result.scaled(roles, plan), **roles.loaded.record}

    def write(aside: Path) -> None:
        result.save(roles, aside)
        by_key = {f"line-{row.line}-{n}": row for n, row in enumerate(split.heldout)}
        lines = (_line(by_key[item.ranked.key], item) for item in scored)
        (aside / HELDOUT_SCORES).write_text("".join(lines), encoding="utf-8")

    folder.publish(request.card("Reward model", settings, metrics), write)


def criterion_weights(compared: Sequence[JudgedRow]) -> dict[str, float]:
    """Return the weights of the rated criteria, each as in the last row that has it."""
    newest: dict[str, float] = {}
    for row in compared:
        newest |= row.weights
    return newest


def refuse_labeler_weights(plan: RewardPlan) -> None:
    """Refuse settings that need a project's labelers and numbers of judgments.

    Raises:
        Invalid: such a setting is used; the message names it.
    """
    if plan.weighing is not Weighing.EQUAL:
        raise Invalid(
            f"reward.weighing = {plan.weighing} counts a project's judgments; rows of a file weigh "
            "the same"
        )
    if plan.labelers:
        raise Invalid("reward.labelers weighs a project's labelers; rows of a file all weigh 1")


def measure(
    inputs: RewardInputs, model: AdapterReward, criteria: Criteria = ()
) -> tuple[dict[str, Any], list[ScoredPrompt]]:
    """Return the report on held-out judgments, and the scores behind it."""
    max_tokens = inputs.plan.reward.max_tokens
    fit, too_long = split_by_length(inputs.heldout, max_tokens)
    _, too_long_train = split_by_length(inputs.train, max_tokens)
    figures: dict[str, Any] = {
        "too_long": [ranking.key for ranking in [*too_long_train, *too_long]]
    }
    if not fit:
        return figures | {"heldout": None, "heldout_reason": NOTHING_HELD_OUT}, []
    scored = reward_figures.score_all(model, fit)
    return figures | reward_figures.on_heldout(inputs.train, scored, model, criteria), scored


def _parts(
    request: TrainingRequest, folder: RunFolder, roles: Roles, prompts: Sequence[KeyedPrompt]
) -> tuple[RewardFunction, ...]:
    """Return the additional rewards, loaded before any training."""
    plan = request.plan.reward
    turns = [messages for _, messages in prompts]
    conversations = token_ids.conversations(roles.loaded, turns, request.instruction)
    reading = RewardReading(roles, request.device_of(folder), conversations)
    return reward_parts.build(plan, reward_access.sources(), reading)


def _prompts(judged: Sequence[JudgedRow], most: int) -> list[KeyedPrompt]:
    different = {
        row.key: [*row.messages, *row.earlier[0]] if row.earlier else row.messages for row in judged
    }
    return list(different.items())[:most]


def _line(row: JudgedRow, scored: ScoredPrompt) -> str:
    record = {
        "line": row.line,
        "messages": [dict(turn) for turn in row.messages],
        "texts": list(row.texts),
        **earlier_turns.in_scores(row.earlier),
        "scores": list(scored.scores),
    }
    return json.dumps(record, ensure_ascii=False) + "\n"
