"""From the votes on a comparison to preferences: aggregated, filtered, the chosen one first.

Every pair that could have been exported is there, with its preferences or with the reason why
there are none. The formats decide how a preference is written.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

from app.domain import earlier_turns, vote_shares
from app.domain.ranking import Preference, Ranking, Strength
from app.domain.vote_shares import Camp, PairVotes
from app.errors import Invalid
from app.formats import records
from app.formats.records import PreferenceRecord, Turn
from app.services.datasets import judged_comparisons
from app.services.datasets.judged_comparisons import (
    Aggregate,
    ExportOptions,
    JudgedComparison,
    Ties,
    Voted,
)

_NEITHER = (Camp.NEITHER,)
_CHOSEN_FIRST = Ranking((1, 2))


class ImpliedPair(NamedTuple):
    """A pair with its preferences; without any, `reason` says why.

    `vote` is the vote that it comes from, None if it comes from all votes or from a settlement. It
    is a tuple, like the direction below, because exports make millions.
    """

    preferences: tuple[PreferenceRecord, ...]
    reason: str = ""
    vote: Voted | None = None


class _Direction(NamedTuple):
    """The better completion and the worse one, or two that are tied, with what a row adds."""

    better: int
    worse: int
    is_tie: bool = False
    tie_reason: str = judged_comparisons.TIED
    margin: float | None = None


def of_comparison(comparison: JudgedComparison, options: ExportOptions) -> Iterable[ImpliedPair]:
    """Return the pairs that a comparison implies: those of its settlement, or of its votes."""
    if comparison.is_settled:
        return _of_settlement(comparison, options)
    if comparison.edits:
        return _of_edits(comparison, options)
    counted = vote_shares.camps(comparison.votes, len(comparison.candidates))
    if options.aggregate is Aggregate.EACH_VOTE:
        return _of_each_vote(comparison, counted, options)
    return [_of_votes(comparison, pair, options) for pair in counted]


def _of_each_vote(
    comparison: JudgedComparison, counted: Iterable[PairVotes], options: ExportOptions
) -> Iterator[ImpliedPair]:
    agreement = {(pair.first, pair.second): pair.agreement for pair in counted}
    for vote in comparison.votes:
        yield from _of_vote(comparison, vote, agreement, options)


def _of_settlement(comparison: JudgedComparison, options: ExportOptions) -> Iterator[ImpliedPair]:
    """Yield the pairs of the settlement, once each, whatever the aggregate."""
    if comparison.settled is None:
        return
    pairs = combinations(range(len(comparison.candidates)), 2)
    for (first, second), sign in zip(pairs, comparison.settled.signs, strict=True):
        better, worse = (first, second) if sign >= 0 else (second, first)
        margin = float(abs(sign)) if options.aggregate is Aggregate.VOTE_SHARE else None
        direction = _Direction(better, worse, is_tie=not sign, margin=margin)
        yield _directed(comparison, direction, options)


def _of_edits(comparison: JudgedComparison, options: ExportOptions) -> Iterator[ImpliedPair]:
    """Yield each edited version as preferred to the original completion."""
    (original,) = candidates(comparison)
    for vote in comparison.edits:
        edited = replace(original, text=vote.text or "", source=judged_comparisons.EDITED)
        try:
            preference = PreferenceRecord(
                messages(comparison),
                (edited, original),
                _CHOSEN_FIRST,
                labeler=vote.labeler if options.aggregate is Aggregate.EACH_VOTE else None,
                margin=1.0 if options.aggregate is Aggregate.VOTE_SHARE else None,
                source_id=str(comparison.comparison_id),
            )
        except Invalid as error:
            yield ImpliedPair((), str(error), vote)
        else:
            yield ImpliedPair((preference,), vote=vote)


def _of_vote(
    comparison: JudgedComparison,
    vote: Voted,
    agreement: dict[tuple[int, int], float],
    options: ExportOptions,
) -> Iterator[ImpliedPair]:
    if vote.ranking is None:
        return
    for implied in vote.ranking.preferences():
        if agreement[_in_order(implied)] < options.min_agreement:
            yield ImpliedPair((), judged_comparisons.LOW_AGREEMENT, vote)
        else:
            margin = None if implied.tie else vote.margin
            direction = _Direction(
                implied.preferred, implied.other, is_tie=implied.tie, margin=margin
            )
            yield _directed(comparison, direction, options, vote)


def _in_order(implied: Preference) -> tuple[int, int]:
    return (min(implied.preferred, implied.other), max(implied.preferred, implied.other))


def _of_votes(comparison: JudgedComparison, pair: PairVotes, options: ExportOptions) -> ImpliedPair:
    """Return the pair by majority or by vote share.

    Votes without a preference are a camp of their own: if it is the largest, there is no pair.
    """
    if options.min_agreement and pair.agreement < options.min_agreement:
        return ImpliedPair((), judged_comparisons.LOW_AGREEMENT)
    camps = pair.largest
    if camps == _NEITHER:
        return ImpliedPair((), judged_comparisons.MOSTLY_NEITHER)
    if options.aggregate is Aggregate.MAJORITY:
        return _of_majority(comparison, pair, camps, options)
    better, worse = (pair.first, pair.second) if pair.lead >= 0 else (pair.second, pair.first)
    margin = round(abs(pair.lead), 6)
    direction = _Direction(better, worse, is_tie=not pair.lead, margin=margin)
    return _directed(comparison, direction, options)


def _of_majority(
    comparison: JudgedComparison,
    pair: PairVotes,
    camps: tuple[Camp, ...],
    options: ExportOptions,
) -> ImpliedPair:
    """Return the pair as the largest camp says; without one it is a tie, if all state a choice."""
    if len(camps) == 1:
        places = (pair.first, pair.second)
        better, worse = places if camps[0] is not Camp.SECOND else places[::-1]
        return _directed(
            comparison, _Direction(better, worse, is_tie=camps[0] is Camp.TIE), options
        )
    if Camp.NEITHER in camps:
        return ImpliedPair((), judged_comparisons.NO_MAJORITY)
    undecided = _Direction(
        pair.first, pair.second, is_tie=True, tie_reason=judged_comparisons.NO_MAJORITY
    )
    return _directed(comparison, undecided, options)


def _directed(
    comparison: JudgedComparison,
    direction: _Direction,
    options: ExportOptions,
    vote: Voted | None = None,
) -> ImpliedPair:
    """Return the pair with the chosen completion first; a tie not at all, or once each way."""
    if direction.is_tie and options.ties is Ties.DROP:
        return ImpliedPair((), direction.tie_reason, vote)
    strength = None if vote is None or vote.strength is None else Strength(vote.strength)
    forth = tuple([_completion(comparison, place) for place in (direction.better, direction.worse)])
    try:
        preferences = tuple(
            [
                PreferenceRecord(
                    messages(comparison),
                    ordered,
                    _CHOSEN_FIRST,
                    labeler=None if vote is None else vote.labeler,
                    strength=strength,
                    margin=direction.margin,
                    source_id=str(comparison.comparison_id),
                )
                for ordered in ((forth, forth[::-1]) if direction.is_tie else (forth,))
            ]
        )
    except Invalid as error:
        return ImpliedPair((), str(error), vote)
    return ImpliedPair(preferences, vote=vote)


def messages(comparison: JudgedComparison) -> records.Conversation:
    """Return the turns of a comparison's prompt."""
    return comparison.prompt.turns


def candidates(comparison: JudgedComparison) -> tuple[records.CompletionText, ...]:
    """Return a comparison's completions in canonical order."""
    return tuple([_completion(comparison, place) for place in range(len(comparison.candidates))])


def _completion(comparison: JudgedComparison, place: int) -> records.CompletionText:
    candidate = comparison.candidates[place]
    if not candidate.earlier:
        return records.CompletionText(candidate.text, candidate.source)
    earlier = tuple([Turn(*turn) for turn in earlier_turns.as_turns(candidate.earlier)])
    return records.CompletionText(candidate.text, candidate.source, earlier)
