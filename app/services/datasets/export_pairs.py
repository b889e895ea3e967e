"""From the votes on a comparison to preferences: aggregated, filtered, the chosen one first.

What implies no preference is counted with its reason. The formats decide how a preference is
written.
"""

from collections.abc import Iterator

from app.domain import vote_shares
from app.domain.ranking import Ranking, Strength
from app.domain.vote_shares import TrainingPair
from app.errors import Invalid
from app.formats import records
from app.formats.manifest import ExportTally
from app.formats.records import PreferenceRecord, Turn
from app.formats.training_rows import DatasetPrompt
from app.services.datasets import judged_comparisons
from app.services.datasets.judged_comparisons import (
    Aggregate,
    ExportOptions,
    JudgedComparison,
    Ties,
    Voted,
)


def of_comparison(
    comparison: JudgedComparison, options: ExportOptions, tally: ExportTally
) -> Iterator[PreferenceRecord]:
    """Yield the preferences that a comparison implies; count what implies none."""
    if comparison.edits:
        yield from _of_edits(comparison, options)
        return
    if options.aggregate is Aggregate.EACH_VOTE:
        for vote in comparison.votes:
            yield from _of_vote(comparison, vote, options, tally)
        return
    for pair in vote_shares.pairs(comparison.votes, len(comparison.candidates)):
        if pair.agreement < options.min_agreement:
            tally.exclude(judged_comparisons.LOW_AGREEMENT)
            continue
        yield from _of_pair(comparison, pair, options, tally)
    if not comparison.rankings:
        tally.exclude(judged_comparisons.NOT_PREFERENCE)


def _of_edits(comparison: JudgedComparison, options: ExportOptions) -> Iterator[PreferenceRecord]:
    """Yield each edited version as preferred to the original completion."""
    (original,) = candidates(comparison)
    for vote in comparison.edits:
        yield PreferenceRecord(
            messages(comparison),
            (records.CompletionText(vote.text or "", judged_comparisons.EDITED), original),
            Ranking((1, 2)),
            labeler=vote.labeler if options.aggregate is Aggregate.EACH_VOTE else None,
            margin=1.0,
            source_id=str(comparison.comparison_id),
        )


def _of_vote(
    comparison: JudgedComparison, vote: Voted, options: ExportOptions, tally: ExportTally
) -> Iterator[PreferenceRecord]:
    if vote.ranking is None:
        tally.exclude(judged_comparisons.NOT_PREFERENCE)
        return
    agreement = {
        (pair.first, pair.second): pair.agreement
        for pair in vote_shares.pairs(comparison.votes, len(comparison.candidates))
    }
    strength = None if vote.strength is None else Strength(vote.strength)
    for preference in vote.ranking.preferences():
        place = (
            min(preference.preferred, preference.other),
            max(preference.preferred, preference.other),
        )
        if agreement[place] < options.min_agreement:
            tally.exclude(judged_comparisons.LOW_AGREEMENT)
            continue
        sign = 0 if preference.tie else 1
        yield from _directed(
            comparison,
            (preference.preferred, preference.other),
            sign,
            options,
            tally,
            labeler=vote.labeler,
            strength=strength,
            margin=vote.margin if sign else None,
        )


def _of_pair(
    comparison: JudgedComparison, pair: TrainingPair, options: ExportOptions, tally: ExportTally
) -> Iterator[PreferenceRecord]:
    sign = (pair.share > 0.5) - (pair.share < 0.5)
    if options.aggregate is Aggregate.MAJORITY and comparison.settled is not None:
        ranks = comparison.settled.ranks
        sign = (ranks[pair.second] > ranks[pair.first]) - (ranks[pair.second] < ranks[pair.first])
    places = (pair.first, pair.second) if sign >= 0 else (pair.second, pair.first)
    yield from _directed(
        comparison, places, abs(sign), options, tally, margin=round(abs(2 * pair.share - 1), 6)
    )


def _directed(
    comparison: JudgedComparison,
    places: tuple[int, int],
    sign: int,
    options: ExportOptions,
    tally: ExportTally,
    *,
    labeler: str | None = None,
    strength: Strength | None = None,
    margin: float | None = None,
) -> Iterator[PreferenceRecord]:
    """Yield the pair with the chosen completion first; a tie not at all, or once each way."""
    if not sign and options.ties is Ties.DROP:
        tally.exclude(judged_comparisons.TIED)
        return
    better, worse = places
    for first, second in [(better, worse)] if sign else [(better, worse), (worse, better)]:
        both = candidates(comparison)
        try:
            yield PreferenceRecord(
                messages(comparison),
                (both[first], both[second]),
                Ranking((1, 2)),
                labeler=labeler,
                strength=strength,
                margin=margin,
                source_id=str(comparison.comparison_id),
            )
        except Invalid as error:
            tally.exclude(str(error))


def messages(comparison: JudgedComparison) -> records.Conversation:
    """Return the turns of a comparison's prompt."""
    return turns(comparison.prompt)


def turns(prompt: DatasetPrompt) -> records.Conversation:
    """Return the turns of a prompt."""
    return tuple(Turn(str(turn["role"]), str(turn["content"])) for turn in prompt.messages)


def candidates(comparison: JudgedComparison) -> tuple[records.CompletionText, ...]:
    """Return a comparison's completions in canonical order."""
    return tuple(records.CompletionText(each.text, each.source) for each in comparison.candidates)
