"""Metrics of a reward model: on held-out comparisons, compared with people, and on ratings."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from app.domain import earlier_turns
from app.formats.training_rows import FrozenRow
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.reward import rating_report, reward_report
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.ranking_loss import branches_of, split_by_length
from worker.rlhf.reward.reward_report import ScoredPrompt
from worker.rlhf.reward.scoring import AdapterReward
from worker.training import human_level
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
        "people": human_level.lines(measured, scores),
        "by_labeler": human_level.by_labeler(measured, scores),
    }
    return figures, [_scored(row, scores[row.row.comparison_id]) for row in measured]


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
