"""Quality figures for each labeler: gold accuracy, self-consistency, biases, ties, skips and time.

Intervals are clustered by prompt. Agreement with other labelers is in `agreement`, and what a lead
should check in `labeler_remarks`. The figures are for people to read; they never pause a labeler or
change the weight of a judgment.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean, median
from typing import Any, cast

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import jackknife, practice
from app.domain.judgment_kinds import RateBody
from app.domain.measures import Measure
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
from app.services.quality import agreement, labeler_remarks
from app.services.quality.kept_figures import kept
from app.services.quality.labeler_remarks import MIN_JUDGMENTS, Evidence, Trials
from app.services.queue import counted_judgments

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
    longer_by_others: Measure
    median_s: float | None
    thumbs_up: Measure
    remarks: tuple[str, ...]  # sentences on what a lead should check


@dataclass(frozen=True, slots=True)
class _JudgmentRow:
    """The columns of a judgment and its comparison that the figures need."""

    comparison_id: int
    prompt_id: int
    purpose: Purpose
    origin_id: int | None
    is_right: bool | None  # None: no gold answer in force
    ranking: Ranking | None
    both_bad: bool
    shown_order: list[int]
    active_ms: int
    thumb: str | None

    @property
    def is_placed(self) -> bool:
        """Whether it has a single first choice and the order in which completions were shown."""
        return bool(self.shown_order) and _first_choice(self) is not None

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
    team = _Team(
        longer,
        _longer_by_others(longer),
        agreement.standings(session, project_id),
        tested=sum(len(judgments) >= MIN_JUDGMENTS for judgments in by_labeler.values()),
    )
    return [
        _quality(member, by_labeler[member.user_id], skips.get(member.user_id, ()), team)
        for member in members
        if by_labeler[member.user_id] or skips.get(member.user_id)
    ]


@dataclass(frozen=True, slots=True)
class _Team:
    """What a labeler is compared with."""

    longer: Mapping[int, Trials]
    longer_by_others: Mapping[int, Measure]
    standings: agreement.LabelerStandings
    tested: int  # labelers with enough judgments for remarks


def _longer_by_others(longer: Mapping[int, Trials]) -> dict[int, Measure]:
    """Measure for each labeler how often all others together chose the longer completion."""
    together = [trials for trials in longer.values() if trials.values]
    measures = jackknife.shares_of_others(
        np.array([value for trials in together for value in trials.values], dtype=float),
        jackknife.numbered(prompt for trials in together for prompt in trials.prompts),
        np.repeat(
            np.arange(len(longer), dtype=np.int64),
            [len(trials.values) for trials in longer.values()],
        ),
        len(longer),
        nothing=NO_LENGTH_CHOICE,
    )
    return dict(zip(longer, measures, strict=True))


def _quality(
    member: Membership, judgments: Sequence[_JudgmentRow], skips: Sequence[int], team: _Team
) -> Quality:
    normal_work = [judgment for judgment in judgments if judgment.purpose != Purpose.PRACTICE]
    ranked = [judgment for judgment in normal_work if judgment.ranking is not None]
    times_s = [judgment.active_ms / 1000 for judgment in normal_work if judgment.active_ms > 0]
    evidence = Evidence(
        judgments=len(normal_work),
        labelers=team.tested,
        first_place=_first_place(ranked),
        first_place_expected=_first_place_expected(ranked),
        gold=_gold(normal_work),
        same_again=_same_again(normal_work),
        longer=team.longer.get(member.user_id, Trials((), (), NO_JUDGMENT)),
        longer_by_others=team.longer_by_others.get(
            member.user_id, Measure.missing(NO_LENGTH_CHOICE)
        ),
        standing=team.standings.choices.get(member.pseudonym),
        is_contrary=member.pseudonym in team.standings.contrary,
    )
    return Quality(
        user_id=member.user_id,
        labeler=member.pseudonym,
        judgments=len(normal_work),
        gold=evidence.gold.measure(),
        same_again=evidence.same_again.measure(),
        first_place=evidence.first_place.measure(),
        first_place_expected=evidence.first_place_expected,
        ties=Trials.of(((_is_tie(row), row.prompt_id) for row in ranked), NO_JUDGMENT).measure(),
        skips=_skipped(normal_work, skips).measure(),
        longer=evidence.longer.measure(),
        longer_by_others=evidence.longer_by_others,
        median_s=median(times_s) if times_s else None,
        thumbs_up=_thumbs_up(normal_work).measure(),
        remarks=labeler_remarks.of(evidence),
    )


def _gold(judgments: Iterable[_JudgmentRow]) -> Trials:
    return Trials.of(
        (
            (judgment.is_right, judgment.prompt_id)
            for judgment in judgments
            if judgment.purpose == Purpose.GOLD and judgment.is_right is not None
        ),
        NO_GOLD,
    )


def _skipped(judgments: Iterable[_JudgmentRow], skips: Iterable[int]) -> Trials:
    judged = ((False, judgment.prompt_id) for judgment in judgments)
    return Trials.of(chain(judged, ((True, prompt_id) for prompt_id in skips)), NO_JUDGMENT)


def _thumbs_up(judgments: Iterable[_JudgmentRow]) -> Trials:
    return Trials.of(
        (
            (judgment.thumb == "up", judgment.prompt_id)
            for judgment in judgments
            if judgment.thumb is not None
        ),
        NO_THUMB,
    )


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


def _same_again(judgments: Iterable[_JudgmentRow]) -> Trials:
    by_comparison = {judgment.comparison_id: judgment for judgment in judgments}
    return Trials.of(
        (
            (_verdict(by_comparison[repeat.origin_id]) == _verdict(repeat), repeat.prompt_id)
            for repeat in by_comparison.values()
            if repeat.purpose == Purpose.REPEAT
            and repeat.origin_id in by_comparison
            and repeat.is_repeatable
        ),
        NO_REPEAT,
    )


def _first_place(ranked: Iterable[_JudgmentRow]) -> Trials:
    return Trials.of(
        (
            (judgment.shown_order[0] == _first_choice(judgment), judgment.prompt_id)
            for judgment in ranked
            if judgment.is_placed
        ),
        NO_FIRST_CHOICE,
    )


def _first_place_expected(ranked: Iterable[_JudgmentRow]) -> float | None:
    """Return how often chance would put the chosen completion first on screen."""
    shares = [1 / len(judgment.shown_order) for judgment in ranked if judgment.is_placed]
    return fmean(shares) if shares else None


def _longer(judgments: Iterable[_JudgmentRow], lengths: Mapping[int, Sequence[int]]) -> Trials:
    trials: list[tuple[bool, int]] = []
    for judgment in judgments:
        sizes = lengths.get(judgment.comparison_id, ())
        first = _first_choice(judgment)
        if len(sizes) == 2 and first is not None and sizes[0] != sizes[1]:
            trials.append((sizes[first] > sizes[1 - first], judgment.prompt_id))
    return Trials.of(trials, NO_LENGTH_CHOICE)


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
            Comparison.prompt_id,
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
                row.prompt_id,
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


def _skips(session: Session, project_id: int) -> dict[int, list[int]]:
    """Return the prompts that each labeler skipped, once for each time."""
    query = (
        select(Assignment.labeler_id, Comparison.prompt_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(Assignment.project_id == project_id, Assignment.state == AssignmentState.SKIPPED)
        .order_by(Assignment.id)
    )
    skips: defaultdict[int, list[int]] = defaultdict(list)
    for row in session.execute(query):
        skips[row.labeler_id].append(row.prompt_id)
    return skips


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
