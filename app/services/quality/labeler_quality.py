"""Quality figures for each labeler: gold accuracy, self-consistency, biases, ties, skips and time.

Intervals are clustered by prompt. Agreement with other labelers is in `agreement`, and what a lead
should check in `labeler_remarks`. The figures are for people to read; they never pause a labeler or
change the weight of a judgment.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import jackknife, labeler_pace
from app.domain.krippendorff import Indices
from app.domain.labeler_pace import LabelerPace
from app.domain.measures import Measure
from app.domain.states import AssignmentState
from app.models import Assignment, Comparison, Membership, Purpose
from app.services.quality import (
    agreement,
    judgment_reader,
    labeler_remarks,
    longer_completions,
    repeats,
)
from app.services.quality.judgment_columns import NONE, PURPOSES, JudgmentArrays, Mask
from app.services.quality.kept_figures import kept
from app.services.quality.labeler_remarks import MIN_JUDGMENTS, Evidence, Trials
from app.services.quality.repeats import SameAgain

NO_GOLD = "no gold comparison judged"
NO_REPEAT = "no comparison judged twice"
NO_FIRST_CHOICE = "no judgment with a single first choice and a recorded display order"
NO_LENGTH_CHOICE = "no choice between two responses of different length"
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
class _Work:
    """One labeler's judgments, practice left out, and the longer completion of each comparison."""

    arrays: JudgmentArrays
    is_tie: Mask
    longer: NDArray[np.int8]  # 1: the first completion, -1: the second, 0: neither

    @property
    def is_placed(self) -> Mask:
        """Which judgments have a single first choice and the order in which they were shown."""
        placed: Mask = (self.arrays.first != NONE) & (self.arrays.shown != NONE)
        return placed

    def trials(self, values: Mask, mask: Mask, nothing: str) -> Trials:
        """Return the values of a mask as trials."""
        return Trials(values[mask], self.arrays.prompt[mask], nothing)


@kept
def of_project(session: Session, project_id: int) -> list[Quality]:
    """Return the figures of every member who has judged or skipped anything."""
    work = _work_by_labeler(session, project_id)
    skips = _skips(session, project_id)
    members = session.scalars(
        select(Membership).where(Membership.project_id == project_id).order_by(Membership.id)
    ).all()
    longer = {user_id: _longer(own) for user_id, own in work.items()}
    team = _Team(
        longer,
        _longer_by_others(longer),
        agreement.standings(session, project_id),
        repeats.read(session, project_id),
        tested=sum(len(own.arrays) >= MIN_JUDGMENTS for own in work.values()),
        paces={user_id: pace for user_id, own in work.items() if (pace := _pace(own)) is not None},
    )
    nothing = _Work(JudgmentArrays.empty(), np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int8))
    return [
        _quality(member, work.get(member.user_id, nothing), skips.get(member.user_id, ()), team)
        for member in members
        if member.user_id in work or skips.get(member.user_id)
    ]


@dataclass(frozen=True, slots=True)
class _Team:
    """What a labeler is compared with."""

    longer: Mapping[int, Trials]
    longer_by_others: Mapping[int, Measure]
    standings: agreement.LabelerStandings
    repeats: Mapping[int, Sequence[SameAgain]]
    tested: int  # labelers with enough judgments for remarks
    paces: Mapping[int, LabelerPace]


def _work_by_labeler(session: Session, project_id: int) -> dict[int, _Work]:
    """Return each labeler's work by user id; labelers who only practiced have an empty one."""
    judgments = judgment_reader.read(session, project_id)
    longer = longer_completions.read(session, project_id).of(judgments.arrays.comparison)
    is_tie, labeler = judgments.is_tie, judgments.arrays.labeler
    order = np.argsort(labeler, kind="stable")
    people, starts = np.unique(labeler[order], return_index=True)
    practice = PURPOSES.index(Purpose.PRACTICE)
    work = {}
    # Without any judgments there are no people, but `split` would still return one empty part.
    parts = np.split(order, starts[1:]) if len(people) else []
    for user_id, of_labeler in zip(people.tolist(), parts, strict=True):
        kept_places = of_labeler[judgments.arrays.purpose[of_labeler] != practice]
        work[user_id] = _Work(
            judgments.arrays.where(kept_places), is_tie[kept_places], longer[kept_places]
        )
    return work


def _longer_by_others(longer: Mapping[int, Trials]) -> dict[int, Measure]:
    """Measure for each labeler how often all others together chose the longer completion."""
    together = [trials for trials in longer.values() if len(trials.values)]
    measures = jackknife.shares_of_others(
        np.concatenate([np.zeros(0), *(trials.values for trials in together)]),
        _clusters([trials.prompts for trials in together]),
        np.repeat(
            np.arange(len(longer), dtype=np.int64),
            [len(trials.values) for trials in longer.values()],
        ),
        len(longer),
        nothing=NO_LENGTH_CHOICE,
    )
    return dict(zip(longer, measures, strict=True))


def _clusters(prompts: Iterable[Indices]) -> Indices:
    """Number the prompts of several labelers from 0."""
    together = np.concatenate([np.zeros(0, dtype=np.int64), *prompts])
    return np.unique(together, return_inverse=True)[1].astype(np.int64)


def _quality(member: Membership, work: _Work, skips: Sequence[int], team: _Team) -> Quality:
    arrays = work.arrays
    pace = team.paces.get(member.user_id)
    repeated = team.repeats.get(member.user_id, ())
    evidence = Evidence(
        judgments=len(arrays),
        labelers=team.tested,
        first_place=work.trials(arrays.shown == arrays.first, work.is_placed, NO_FIRST_CHOICE),
        first_place_expected=_first_place_expected(work),
        gold=work.trials(arrays.right == 1, _is_gold(arrays), NO_GOLD),
        same_again=Trials.of(repeated, NO_REPEAT),
        longer=team.longer.get(member.user_id, Trials.of((), NO_JUDGMENT)),
        longer_by_others=team.longer_by_others.get(
            member.user_id, Measure.missing(NO_LENGTH_CHOICE)
        ),
        standing=team.standings.choices.get(member.pseudonym),
        is_contrary=member.pseudonym in team.standings.contrary,
        haste=labeler_pace.haste(team.paces, member.user_id),
    )
    return Quality(
        user_id=member.user_id,
        labeler=member.pseudonym,
        judgments=len(arrays),
        gold=evidence.gold.measure(),
        same_again=evidence.same_again.measure(),
        first_place=evidence.first_place.measure(),
        first_place_expected=evidence.first_place_expected,
        ties=work.trials(work.is_tie, arrays.size > 0, NO_JUDGMENT).measure(),
        skips=_skipped(arrays, skips).measure(),
        longer=evidence.longer.measure(),
        longer_by_others=evidence.longer_by_others,
        median_s=pace.median_s if pace else None,
        thumbs_up=work.trials(arrays.thumb == 1, arrays.thumb != NONE, NO_THUMB).measure(),
        remarks=labeler_remarks.of(evidence),
    )


def _pace(work: _Work) -> LabelerPace | None:
    """Return the time of a labeler's judgments; None if none was timed."""
    times_ms = work.arrays.active_ms[work.arrays.active_ms > 0]
    return LabelerPace(float(np.median(times_ms)) / 1000, len(times_ms)) if len(times_ms) else None


def _is_gold(arrays: JudgmentArrays) -> Mask:
    known: Mask = (arrays.purpose == PURPOSES.index(Purpose.GOLD)) & (arrays.right != NONE)
    return known


def _skipped(arrays: JudgmentArrays, skips: Sequence[int]) -> Trials:
    prompts = np.concatenate([arrays.prompt, np.array(skips, dtype=np.int64)])
    return Trials(np.arange(len(prompts)) >= len(arrays), prompts, NO_JUDGMENT)


def _first_place_expected(work: _Work) -> float | None:
    """Return how often chance would put the chosen completion first on screen."""
    sizes = work.arrays.shown_size[work.is_placed]
    return float((1 / sizes).mean()) if len(sizes) else None


def _longer(work: _Work) -> Trials:
    arrays = work.arrays
    chose_longer = arrays.first == np.where(work.longer == 1, 0, 1)
    is_choice = (arrays.first != NONE) & (arrays.size == 2) & (work.longer != 0)
    return work.trials(chose_longer, is_choice, NO_LENGTH_CHOICE)


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
