"""Metrics of a reward model: on held-out comparisons, compared with people, and on ratings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from app.domain import earlier_turns
from app.domain.gates.learning import LeftOutFigures, RewardFigures, enough_tokens
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.formats.training_rows import FrozenRow
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.reward import rating_report, reward_report
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.ranking_loss import branches_of, split_by_length
from worker.rlhf.reward.reward_report import LengthHeuristic, ScoredPrompt
from worker.rlhf.reward.scoring import AdapterReward
from worker.training import human_level
from worker.training.human_level import Scores
from worker.training.reward import RewardInputs

NOTHING_HELD_OUT = "no held-out comparison was judged"
NO_PAIRS = "nothing held out was compared or got a thumb"


def measure(
    rows: Sequence[FrozenRow],
    heldout_rows: Sequence[FrozenRow],
    inputs: RewardInputs,
    reward: AdapterReward,
    criteria: Criteria = (),
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the report on held-out comparisons, compared with people, and its scores.

    Args:
        rows: the frozen rows of the training data.
        heldout_rows: the frozen held-out rows.
        inputs: both as rankings, and the plan.
        reward: the model.
        criteria: the criteria learned from ratings, if any.

    """
    train, heldout, max_tokens = inputs.train, inputs.heldout, inputs.plan.reward.max_tokens
    fit, too_long = split_by_length(heldout, max_tokens)
    _, too_long_train = split_by_length(train, max_tokens)
    figures: dict[str, Any] = {
        "comparisons": len(train),
        "votes": sum(len(row.votes) for row in rows),
        "ai_votes": sum(len(row.ai_votes) for row in rows),
        "too_long": [ranking.key for ranking in [*too_long_train, *too_long]],
        "shared_prefix": _shared_prefix(reward, [*train, *heldout]),
    }
    if not fit:
        return figures | {"heldout": None, "heldout_reason": NOTHING_HELD_OUT}, []
    scored = score_all(reward, fit)
    scores = {int(item.ranked.key.removeprefix("comparison-")): item.scores for item in scored}
    measured = [row for row in heldout_rows if row.row.comparison_id in scores]
    figures |= on_heldout(train, scored, reward, criteria) | {
        "people": {
            **human_level.lines(measured, scores),
            **human_level.against_length(measured, scores, *_lengths(train, scored)),
        },
        "by_labeler": human_level.by_labeler(measured, scores),
    }
    return figures, [_scored(row, scores[row.row.comparison_id]) for row in measured]


def left_out(inputs: RewardInputs, refused: int, context_tokens: int | None) -> LeftOutFigures:
    """Return what the training leaves out of the judged comparisons.

    Args:
        inputs: the rankings, without those that the chat template refuses.
        refused: the number of those.
        context_tokens: of the model, if it is limited.

    """
    limit = inputs.plan.reward.max_tokens
    kept, too_long = split_by_length(inputs.train, limit)
    longest = [
        max(len(ids) for ids in ranked.completions) + len(ranked.prompt_ids) for ranked in kept
    ]
    longest += [each.tokens for each in too_long]
    return LeftOutFigures(
        "comparisons",
        RoundState.REWARD,
        len(kept) + len(too_long) + refused,
        len(too_long),
        refused,
        "reward.max_tokens",
        limit,
        enough_tokens(longest, context_tokens),
    )


def worth(
    plan: RoundPlan, figures: Mapping[str, Any], searched: Mapping[str, Any] | None = None
) -> RewardFigures:
    """Return what a gate goes by from the metrics of a fitted model.

    Args:
        plan: with the settings that the model was trained with.
        figures: from `measure`.
        searched: what a search for the learning rate has recorded, if there was one.
    """
    people = figures.get("people", {})
    accuracy = people.get("accuracy_on_votes", {})
    over = people.get("over_length", {})
    return RewardFigures(
        comparisons=int(people.get("comparisons", 0)),
        accuracy=accuracy.get("value"),
        low=accuracy.get("low"),
        high=accuracy.get("high"),
        length_rule=people.get("length_rule", "longer"),
        length_accuracy=people.get("length_accuracy"),
        over_length_low=over.get("low"),
        wanted=0 if figures.get("ratings") and not figures.get("heldout") else plan.heldout_prompts,
        trained=int(figures.get("comparisons", 0)),
        epochs=plan.reward.epochs,
        rate=plan.reward.learning_rate,
        is_searched=bool(searched),
    )


def _lengths(
    train: Sequence[RankedPrompt], scored: Sequence[ScoredPrompt]
) -> tuple[Scores, LengthHeuristic]:
    """Return the scores of the length rule that fits the training data, and which rule it is."""
    rule = reward_report.length_rule(train)
    sign = 1.0 if rule == "longer" else -1.0
    lengths = {
        int(item.ranked.key.removeprefix("comparison-")): [
            sign * len(ids) for ids in item.ranked.completions
        ]
        for item in scored
    }
    return lengths, rule


def score_all(reward: AdapterReward, rankings: Sequence[RankedPrompt]) -> list[ScoredPrompt]:
    """Return rankings with the raw score of each completion, an ensemble's mean."""
    flat = reward.raw([branches_of(ranked) for ranked in rankings]).mean(0)
    parts = torch.split(flat, [len(ranked.completions) for ranked in rankings])
    return [
        ScoredPrompt(ranked, tuple(part.tolist()))
        for ranked, part in zip(rankings, parts, strict=True)
    ]


def on_heldout(
    train: Sequence[RankedPrompt],
    scored: Sequence[ScoredPrompt],
    reward: AdapterReward,
    fitted: Criteria,
) -> dict[str, Any]:
    """Return the report on held-out comparisons, and on their ratings where there are criteria."""
    heldout = _compared(train, scored)
    if not fitted:
        return heldout
    rankings = [item.ranked for item in scored]
    predicted = rating_report.predict(reward, rankings, fitted)
    reports = rating_report.report(predicted, rankings, fitted)
    return heldout | {"ratings": [rating.to_json() for rating in reports]}


def _compared(train: Sequence[RankedPrompt], scored: Sequence[ScoredPrompt]) -> dict[str, Any]:
    has_any = any(
        item.ranked.pairs or any(feedback.thumb is not None for feedback in item.ranked.absolutes)
        for item in scored
    )
    if not has_any:
        return {"heldout": None, "heldout_reason": NO_PAIRS}
    return {"heldout": reward_report.report(train, scored).to_json()}


def _shared_prefix(reward: AdapterReward, rankings: Sequence[RankedPrompt]) -> dict[str, Any]:
    """Return the probe's result, and how many comparisons cannot share their prompt."""
    apart = sum(not reward.probe.allows([branches_of(ranked)]) for ranked in rankings)
    return {**asdict(reward.probe), "comparisons_apart": apart}


def _scored(frozen: FrozenRow, scores: Sequence[float]) -> dict[str, Any]:
    return {
        "comparison": frozen.row.comparison_id,
        "messages": [dict(message) for message in frozen.row.prompt.messages],
        "texts": [candidate.text for candidate in frozen.row.candidates],
        **earlier_turns.in_scores([candidate.earlier for candidate in frozen.row.candidates]),
        "scores": list(scores),
    }
