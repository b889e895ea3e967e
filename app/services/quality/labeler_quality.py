"""What each labeler does beside agreeing: gold, the same again, place on screen, ties, time.

The numbers inform people; nothing here pauses or weighs anyone.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import practice
from app.domain.answers import RateBody
from app.domain.measures import Interval, Measure, share, wilson
from app.domain.ranking import Ranking
from app.domain.states import AssignmentState
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Completion,
    Judgment,
    Membership,
    Purpose,
)
from app.services.datasets.preferences import ranking_of
from app.services.quality.result_cache import remembered
from app.services.queue import counted_judgments

FEWEST = 30  # below this nothing is said of a labeler but counts
REMARK_LEVEL = 0.999
LEAST_ON_GOLD = 0.8
LEAST_SAME_AGAIN = 0.75

_COLUMNS = (
    *("id", "comparison_id", "labeler_id", "preferred", "ranking", "ratings", "both_bad"),
    *("shown_order", "active_ms", "thumb"),
)

NO_GOLD = "no gold comparison judged"
NO_REPEAT = "no comparison judged twice"
NO_PLACE = "nothing with a clear first choice judged on screen"
NOTHING = "nothing judged"
NO_THUMB = "no thumb given"


@dataclass(frozen=True, slots=True)
class Quality:
    """One labeler's habits; each share with its interval and what it rests on."""

    user_id: int
    labeler: str
    judgments: int
    gold: Measure
    same_again: Measure
    first_place: Measure  # how often the one shown first was chosen
    first_place_expected: float | None
    ties: Measure
    skips: Measure
    longer: Measure  # how often the longer of two was chosen
    longer_by_others: float | None
    median_s: float | None
    thumbs_up: Measure

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a lead may want to look at, as sentences; none below thirty judgments."""
        return tuple(self._remarks()) if self.judgments >= FEWEST else ()

    def _remarks(self) -> Iterable[str]:
        # Many labelers are looked at on many habits, so only what is far out is named.
        if _is_above(self.first_place, self.first_place_expected):
            yield f"chooses what is shown first {_share(self.first_place)} of the time"
        if _is_below(self.first_place, self.first_place_expected):
            yield f"chooses what is shown first only {_share(self.first_place)} of the time"
        if _is_below(self.gold, LEAST_ON_GOLD):
            yield f"is right on gold {_share(self.gold)} of the time"
        if _is_below(self.same_again, LEAST_SAME_AGAIN):
            yield f"says the same again {_share(self.same_again)} of the time"
        if _is_above(self.longer, self.longer_by_others):
            yield f"chooses the longer answer {_share(self.longer)}, others less often"


@dataclass(frozen=True, slots=True)
class _Said:
    """A judgment with what matters of its comparison; columns, for there may be many."""

    comparison_id: int
    purpose: Purpose
    origin_id: int | None
    is_right: bool | None  # None: no gold answer in force
    ranking: Ranking | None
    both_bad: bool
    shown_order: list[int]
    active_ms: int
    thumb: str | None

    @property
    def has_answer(self) -> bool:
        """Whether the same could be said again: an order, both bad or a thumb, not a text."""
        return self.ranking is not None or self.both_bad or self.thumb is not None


@remembered
def of_project(session: Session, project_id: int) -> list[Quality]:
    """Return the habits of every member who has judged or skipped anything."""
    said = _said(session, project_id)
    skips = _skips(session, project_id)
    lengths = _lengths(session, project_id)
    members = session.scalars(
        select(Membership).where(Membership.project_id == project_id).order_by(Membership.id)
    )
    longer = {user_id: _longer(theirs, lengths) for user_id, theirs in said.items()}
    return [
        _quality(member, said[member.user_id], skips.get(member.user_id, 0), longer)
        for member in members
        if said[member.user_id] or skips.get(member.user_id)
    ]


def _quality(
    member: Membership,
    said: Sequence[_Said],
    skips: int,
    longer: Mapping[int, Measure],
) -> Quality:
    ordinary = [one for one in said if one.purpose != Purpose.PRACTICE]
    ranked = [one for one in ordinary if one.ranking is not None]
    thumbs = [one for one in ordinary if one.thumb is not None]
    placed = [one for one in ranked if one.shown_order and _first(one) is not None]
    first = sum(one.shown_order[0] == _first(one) for one in placed)
    times = [one.active_ms / 1000 for one in ordinary if one.active_ms > 0]
    return Quality(
        user_id=member.user_id,
        labeler=member.pseudonym,
        judgments=len(ordinary),
        gold=_gold(ordinary),
        same_again=_same_again(ordinary),
        first_place=share(first, len(placed), NO_PLACE),
        first_place_expected=_expected(placed),
        ties=share(sum(_is_tie(one) for one in ranked), len(ranked), NOTHING),
        skips=share(skips, skips + len(ordinary), NOTHING),
        longer=longer.get(member.user_id, Measure.missing(NOTHING)),
        longer_by_others=_pooled(
            measure for user_id, measure in longer.items() if user_id != member.user_id
        ),
        median_s=median(times) if times else None,
        thumbs_up=share(sum(one.thumb == "up" for one in thumbs), len(thumbs), NO_THUMB),
    )


def _gold(said: Iterable[_Said]) -> Measure:
    golden = [one for one in said if one.purpose == Purpose.GOLD and one.is_right is not None]
    return share(sum(bool(one.is_right) for one in golden), len(golden), NO_GOLD)


def is_right(answer: Mapping[str, Any] | None, said: Any) -> bool | None:
    """Whether a judgment gives the gold answer; None without one.

    What the answer leaves open does not count.
    """
    if not answer:
        return None
    rated = answer.get("ratings")
    if rated:
        given = RateBody(said.ratings or {})
        return set(rated) <= set(given.ratings) and practice.is_right(RateBody(rated), given)
    names = ("preferred", "ranking", "both_bad", "thumb")
    return all(
        getattr(said, name) == answer[name] for name in names if answer.get(name) is not None
    )


def _same_again(said: Iterable[_Said]) -> Measure:
    first = {one.comparison_id: one for one in said}
    repeated = [
        (first[one.origin_id], one)
        for one in first.values()
        if one.purpose == Purpose.REPEAT and one.origin_id in first and one.has_answer
    ]
    same = sum(_answer(before) == _answer(after) for before, after in repeated)
    return share(same, len(repeated), NO_REPEAT)


def _longer(said: Iterable[_Said], lengths: Mapping[int, Sequence[int]]) -> Measure:
    chosen = []
    for one in said:
        sizes = lengths.get(one.comparison_id, ())
        first = _first(one)
        if len(sizes) == 2 and first is not None and sizes[0] != sizes[1]:
            chosen.append(sizes[first] > sizes[1 - first])
    return share(sum(chosen), len(chosen), "nothing chosen between two of different length")


def _pooled(measures: Iterable[Measure]) -> float | None:
    """Return the share over all trials of some shares."""
    known = [one for one in measures if isinstance(one.value, float)]
    trials = sum(one.n for one in known)
    return sum(_value(one) * one.n for one in known) / trials if trials else None


def _is_above(measure: Measure, level: float | None) -> bool:
    found = wilson(_value(measure) * measure.n, measure.n, REMARK_LEVEL)
    return level is not None and isinstance(found, Interval) and found.low > level


def _is_below(measure: Measure, level: float | None) -> bool:
    found = wilson(_value(measure) * measure.n, measure.n, REMARK_LEVEL)
    return level is not None and isinstance(found, Interval) and found.high < level


def _value(measure: Measure) -> float:
    return measure.value if isinstance(measure.value, float) else 0.0


def _expected(placed: Sequence[_Said]) -> float | None:
    """Return how often chance puts the chosen one first on screen."""
    if not placed:
        return None
    return sum(1 / len(one.shown_order) for one in placed) / len(placed)


def _first(one: _Said) -> int | None:
    if one.ranking is None or len(one.ranking.first) != 1:
        return None
    return next(iter(one.ranking.first))


def _is_tie(one: _Said) -> bool:
    return one.ranking is not None and len(set(one.ranking.ranks)) == 1


def _answer(one: _Said) -> tuple[object, ...]:
    """Return what was said of the question; of ratings the order that they imply."""
    return (None if one.ranking is None else one.ranking.ranks, one.both_bad, one.thumb)


def _said(session: Session, project_id: int) -> defaultdict[int, list[_Said]]:
    query = (
        select(
            *(getattr(Judgment, name) for name in _COLUMNS),
            Comparison.purpose,
            Comparison.origin_id,
            Comparison.gold_answer,
            Comparison.is_withdrawn,
        )
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .where(
            Judgment.project_id == project_id,
            counted_judgments.stands(),
        )
        .order_by(Judgment.id)
    )
    found: defaultdict[int, list[_Said]] = defaultdict(list)
    for row in session.execute(query):
        found[row.labeler_id].append(
            _Said(
                row.comparison_id,
                Purpose(row.purpose),
                row.origin_id,
                None if row.is_withdrawn else is_right(row.gold_answer, row),
                ranking_of(cast(Judgment, row)),
                row.both_bad,
                row.shown_order,
                row.active_ms,
                row.thumb,
            )
        )
    return found


def _skips(session: Session, project_id: int) -> dict[int, int]:
    query = (
        select(Assignment.labeler_id, func.count().label("times"))
        .where(Assignment.project_id == project_id, Assignment.state == AssignmentState.SKIPPED)
        .group_by(Assignment.labeler_id)
    )
    return {row.labeler_id: row.times for row in session.execute(query)}


def _lengths(session: Session, project_id: int) -> dict[int, list[int]]:
    """Return the lengths of the two completions of each comparison of two, in characters."""
    query = (
        select(ComparisonCompletion.comparison_id, func.length(Completion.text))
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .join(Comparison, Comparison.id == ComparisonCompletion.comparison_id)
        .where(Comparison.project_id == project_id)
        .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
    )
    found: defaultdict[int, list[int]] = defaultdict(list)
    for comparison_id, length in session.execute(query):
        found[comparison_id].append(length)
    return {comparison_id: sizes for comparison_id, sizes in found.items() if len(sizes) == 2}


def _share(measure: Measure) -> str:
    value = _value(measure)
    found = measure.interval
    interval = (
        f" [{100 * found.low:.0f}, {100 * found.high:.0f}]" if isinstance(found, Interval) else ""
    )
    return f"{100 * value:.0f} %{interval}"
