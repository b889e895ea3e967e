"""Quality figures for each labeler: gold accuracy, self-consistency, biases, ties, skips and time.

Agreement with other labelers is in `agreement`. The figures are for people to read; they never
pause a labeler or change the weight of a judgment.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import practice
from app.domain.judgment_kinds import RateBody
from app.domain.measures import Interval, Measure, Undefined, share, wilson
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
from app.services.quality.kept_figures import kept
from app.services.queue import counted_judgments

MIN_JUDGMENTS = 30  # a labeler with fewer gets no remarks
REMARK_LEVEL = 0.999
MIN_GOLD_ACCURACY = 0.8
MIN_SELF_CONSISTENCY = 0.75

_COLUMNS = (
    *("id", "comparison_id", "labeler_id", "preferred", "ranking", "ratings", "both_bad"),
    *("shown_order", "active_ms", "thumb"),
)

NO_GOLD = "no gold comparison judged"
NO_REPEAT = "no comparison judged twice"
NO_FIRST_CHOICE = "no judgment with a single first choice and a recorded display order"
NO_LENGTH_CHOICE = "no choice between two completions of different length"
NO_JUDGMENT = "nothing judged"
NO_THUMB = "no thumb given"


@dataclass(frozen=True, slots=True)
class Quality:
    """One labeler's figures; each share with its interval and the number of trials."""

    user_id: int
    labeler: str
    judgments: int
    gold: Measure
    same_again: Measure
    first_place: Measure  # how often they chose the completion shown first
    first_place_expected: float | None
    ties: Measure
    skips: Measure
    longer: Measure  # how often they chose the longer of two completions
    longer_by_others: float | None
    median_s: float | None
    thumbs_up: Measure

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on what a lead should check; none below thirty judgments."""
        return tuple(self._remarks()) if self.judgments >= MIN_JUDGMENTS else ()

    def _remarks(self) -> Iterable[str]:
        # With many labelers and many figures, some are extreme by chance: hence the strict level.
        if _is_above(self.first_place, self.first_place_expected):
            yield f"chooses the response shown first {_share(self.first_place)} of the time"
        if _is_below(self.first_place, self.first_place_expected):
            yield f"chooses the response shown first only {_share(self.first_place)} of the time"
        if _is_below(self.gold, MIN_GOLD_ACCURACY):
            yield f"is right on {_share(self.gold)} of gold comparisons"
        if _is_below(self.same_again, MIN_SELF_CONSISTENCY):
            yield f"gives the same judgment on {_share(self.same_again)} of repeated comparisons"
        if _is_above(self.longer, self.longer_by_others):
            text = f"chooses the longer response {_share(self.longer)} of the time"
            yield f"{text}, others less often"


@dataclass(frozen=True, slots=True)
class _JudgmentRow:
    """The columns of a judgment and its comparison that the figures need."""

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
    def is_repeatable(self) -> bool:
        """Whether a repeat can be compared with it: yes for all but written text."""
        return self.ranking is not None or self.both_bad or self.thumb is not None


@kept
def of_project(session: Session, project_id: int) -> list[Quality]:
    """Return the figures of every member who has judged or skipped anything."""
    by_labeler = _judgments(session, project_id)
    skips = _skips(session, project_id)
    lengths = _lengths(session, project_id)
    members = session.scalars(
        select(Membership).where(Membership.project_id == project_id).order_by(Membership.id)
    )
    longer = {user_id: _longer(judgments, lengths) for user_id, judgments in by_labeler.items()}
    return [
        _quality(member, by_labeler[member.user_id], skips.get(member.user_id, 0), longer)
        for member in members
        if by_labeler[member.user_id] or skips.get(member.user_id)
    ]


def _quality(
    member: Membership,
    judgments: Sequence[_JudgmentRow],
    skips: int,
    longer: Mapping[int, Measure],
) -> Quality:
    normal_work = [judgment for judgment in judgments if judgment.purpose != Purpose.PRACTICE]
    ranked = [judgment for judgment in normal_work if judgment.ranking is not None]
    thumbs = [judgment.thumb for judgment in normal_work if judgment.thumb is not None]
    placed = [
        judgment
        for judgment in ranked
        if judgment.shown_order and _first_choice(judgment) is not None
    ]
    times_s = [judgment.active_ms / 1000 for judgment in normal_work if judgment.active_ms > 0]
    return Quality(
        user_id=member.user_id,
        labeler=member.pseudonym,
        judgments=len(normal_work),
        gold=_gold(normal_work),
        same_again=_same_again(normal_work),
        first_place=_first_place(placed),
        first_place_expected=_first_place_expected(placed),
        ties=share(sum(_is_tie(judgment) for judgment in ranked), len(ranked), NO_JUDGMENT),
        skips=share(skips, skips + len(normal_work), NO_JUDGMENT),
        longer=longer.get(member.user_id, Measure.missing(NO_JUDGMENT)),
        longer_by_others=_pooled(
            measure for user_id, measure in longer.items() if user_id != member.user_id
        ),
        median_s=median(times_s) if times_s else None,
        thumbs_up=share(thumbs.count("up"), len(thumbs), NO_THUMB),
    )


def _gold(judgments: Iterable[_JudgmentRow]) -> Measure:
    results = [
        judgment.is_right
        for judgment in judgments
        if judgment.purpose == Purpose.GOLD and judgment.is_right is not None
    ]
    return share(sum(results), len(results), NO_GOLD)


def is_right(gold_answer: Mapping[str, Any] | None, judgment: Any) -> bool | None:
    """Return whether a judgment matches the gold answer, or None if there is none.

    Fields that the gold answer leaves out are not compared.
    """
    if not gold_answer:
        return None
    gold_ratings = gold_answer.get("ratings")
    if gold_ratings:
        rated = RateBody(judgment.ratings or {})
        is_complete = set(gold_ratings) <= set(rated.ratings)
        return is_complete and practice.is_right(RateBody(gold_ratings), rated)
    names = ("preferred", "ranking", "both_bad", "thumb")
    return all(
        getattr(judgment, name) == gold_answer[name]
        for name in names
        if gold_answer.get(name) is not None
    )


def _same_again(judgments: Iterable[_JudgmentRow]) -> Measure:
    by_comparison = {judgment.comparison_id: judgment for judgment in judgments}
    pairs = [
        (by_comparison[repeat.origin_id], repeat)
        for repeat in by_comparison.values()
        if repeat.purpose == Purpose.REPEAT
        and repeat.origin_id in by_comparison
        and repeat.is_repeatable
    ]
    same = sum(_verdict(before) == _verdict(after) for before, after in pairs)
    return share(same, len(pairs), NO_REPEAT)


def _first_place(placed: Sequence[_JudgmentRow]) -> Measure:
    chosen = sum(judgment.shown_order[0] == _first_choice(judgment) for judgment in placed)
    return share(chosen, len(placed), NO_FIRST_CHOICE)


def _first_place_expected(placed: Sequence[_JudgmentRow]) -> float | None:
    """Return how often chance would put the chosen completion first on screen."""
    if not placed:
        return None
    return sum(1 / len(judgment.shown_order) for judgment in placed) / len(placed)


def _longer(judgments: Iterable[_JudgmentRow], lengths: Mapping[int, Sequence[int]]) -> Measure:
    chose_longer = []
    for judgment in judgments:
        sizes = lengths.get(judgment.comparison_id, ())
        first = _first_choice(judgment)
        if len(sizes) == 2 and first is not None and sizes[0] != sizes[1]:
            chose_longer.append(sizes[first] > sizes[1 - first])
    return share(sum(chose_longer), len(chose_longer), NO_LENGTH_CHOICE)


def _pooled(measures: Iterable[Measure]) -> float | None:
    """Return the share over the trials of all measures together."""
    defined = [measure for measure in measures if isinstance(measure.value, float)]
    trials = sum(measure.n for measure in defined)
    return sum(_value(measure) * measure.n for measure in defined) / trials if trials else None


def _is_above(measure: Measure, level: float | None) -> bool:
    interval = _strict_interval(measure)
    return level is not None and isinstance(interval, Interval) and interval.low > level


def _is_below(measure: Measure, level: float | None) -> bool:
    interval = _strict_interval(measure)
    return level is not None and isinstance(interval, Interval) and interval.high < level


def _strict_interval(measure: Measure) -> Interval | Undefined:
    return wilson(_value(measure) * measure.n, measure.n, REMARK_LEVEL)


def _value(measure: Measure) -> float:
    return measure.value if isinstance(measure.value, float) else 0.0


def _first_choice(judgment: _JudgmentRow) -> int | None:
    """Return the position of the only completion ranked first, if there is only one."""
    if judgment.ranking is None or len(judgment.ranking.first) != 1:
        return None
    return next(iter(judgment.ranking.first))


def _is_tie(judgment: _JudgmentRow) -> bool:
    return judgment.ranking is not None and len(set(judgment.ranking.ranks)) == 1


def _verdict(judgment: _JudgmentRow) -> tuple[object, ...]:
    """Return what a repeat is compared by; ratings are compared by the ranking they imply."""
    ranks = None if judgment.ranking is None else judgment.ranking.ranks
    return (ranks, judgment.both_bad, judgment.thumb)


def _judgments(session: Session, project_id: int) -> defaultdict[int, list[_JudgmentRow]]:
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
    by_labeler: defaultdict[int, list[_JudgmentRow]] = defaultdict(list)
    for row in session.execute(query):
        by_labeler[row.labeler_id].append(
            _JudgmentRow(
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
    return by_labeler


def _skips(session: Session, project_id: int) -> dict[int, int]:
    query = (
        select(Assignment.labeler_id, func.count().label("times"))
        .where(Assignment.project_id == project_id, Assignment.state == AssignmentState.SKIPPED)
        .group_by(Assignment.labeler_id)
    )
    return {row.labeler_id: row.times for row in session.execute(query)}


def _lengths(session: Session, project_id: int) -> dict[int, list[int]]:
    """Return the lengths in characters of both completions of every comparison of two."""
    query = (
        select(ComparisonCompletion.comparison_id, func.length(Completion.text))
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .join(Comparison, Comparison.id == ComparisonCompletion.comparison_id)
        .where(Comparison.project_id == project_id)
        .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
    )
    by_comparison: defaultdict[int, list[int]] = defaultdict(list)
    for comparison_id, length in session.execute(query):
        by_comparison[comparison_id].append(length)
    return {name: lengths for name, lengths in by_comparison.items() if len(lengths) == 2}


def _share(measure: Measure) -> str:
    text = f"{100 * _value(measure):.0f} %"
    interval = measure.interval
    if isinstance(interval, Interval):
        text += f" [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
    return text
