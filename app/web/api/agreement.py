"""Agreement: the whole report, each labeler's habits, and the comparisons that divide people."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.domain.agreement import EXPECTATION, RatingAgreement
from app.domain.labeler_agreement import ALONE
from app.domain.measures import Interval, Measure, Undefined
from app.domain.noise_ceiling import Levels
from app.models import Purpose, Round
from app.services.quality import agreement, labeler_quality
from app.services.quality.absolute_agreement import FREE_TEXT
from app.services.quality.agreement import AgreementGroup, AgreementReport
from app.services.quality.labeler_quality import Quality
from app.services.rounds import round_progress
from app.web.deps import LeadAccess

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["agreement"])


class MeasureOut(BaseModel):
    """A number with its 95 % interval; without a number, `reason` says why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = Field(0, description="Comparisons, or trials, that it rests on.")
    reason: str = ""


class LevelsOut(BaseModel):
    """The human level, and the band in which the noise ceiling lies."""

    human: float
    ceiling_low: float
    ceiling_high: float


class GroupOut(BaseModel):
    """Agreement of a part of the judgments."""

    name: str
    judgments: int
    raw: MeasureOut
    alpha: MeasureOut


class PairOut(BaseModel):
    """Two labelers on what both judged."""

    first: str
    second: str
    raw: MeasureOut


class LabelerOut(BaseModel):
    """A labeler with the others, leaving themself out, and their habits."""

    labeler: str
    judgments: int
    with_others: MeasureOut
    alpha: MeasureOut
    gold: MeasureOut
    same_again: MeasureOut
    first_place: MeasureOut = Field(description="How often what was shown first was chosen.")
    ties: MeasureOut
    skips: MeasureOut
    longer: MeasureOut
    median_s: float | None
    majorities_turned: int
    remarks: list[str]


class AbsoluteOut(BaseModel):
    """Agreement on completions one by one: ratings of a criterion, their mean, or thumbs."""

    name: str
    judgments: int
    pairable: int = Field(description="Completions that two or more judged.")
    raw: MeasureOut = Field(description="Exactly the same.")
    within_one: MeasureOut = Field(description="At most one point apart.")
    alpha: MeasureOut
    metric: str


class AloneOut(BaseModel):
    """How often the others' rating is within one point of a labeler's, or their thumb the same."""

    labeler: str
    with_others: MeasureOut


class AgreementOut(BaseModel):
    """How far the labelers of a project, or of a part of it, agree."""

    comparisons: int
    judgments: int
    labelers: int
    units: int
    pairable: int
    without_preference: int
    raw: MeasureOut
    decided: MeasureOut = Field(description="Among votes that are not ties: the human level.")
    alpha: MeasureOut
    metric: str
    strength_alpha: MeasureOut
    tau_b: MeasureOut
    top1: MeasureOut
    levels: LevelsOut | None
    rounds: list[GroupOut]
    guidelines: list[GroupOut]
    sources: list[GroupOut]
    pairs: list[PairOut]
    by_labeler: list[LabelerOut]
    kinds: dict[str, int] = Field(description="Judgments of each kind.")
    ratings: list[AbsoluteOut]
    mean_rating: AbsoluteOut | None
    thumbs: AbsoluteOut | None
    completions_by_labeler: list[AloneOut]
    texts: str = Field("", description="Why there is no agreement on what people write.")
    expectation: str = EXPECTATION


class Disputed(BaseModel):
    """A comparison and how far its labelers agree."""

    comparison_id: int
    agreement: float


@router.get("/agreement")
def report(
    access: LeadAccess,
    round: Annotated[int | None, Query(description="A round's number.")] = None,
    labeler_id: Annotated[int | None, Query(description="Only what this user judged.")] = None,
    version: Annotated[int | None, Query(description="Of the guidelines.")] = None,
    source: Annotated[str | None, Query(description="Of the prompts.")] = None,
    purpose: Purpose = Purpose.TRAIN,
) -> AgreementOut:
    """Return the report; a statistic that is not defined comes with the reason."""
    session, project_id = access.session, access.project.id
    chosen: Round | None = (
        round_progress.get(session, project_id, round) if round is not None else None
    )
    found = agreement.report(
        session,
        project_id,
        round_id=chosen.id if chosen else None,
        labeler_id=labeler_id,
        purpose=purpose,
        version=version,
        source=source,
    )
    return _out(found, labeler_quality.of_project(session, project_id))


@router.get("/agreement/lowest")
def lowest(
    access: LeadAccess, below: Annotated[float, Query(ge=0, le=1)] = agreement.LOW
) -> list[Disputed]:
    """Return the comparisons with the lowest agreement, lowest first."""
    rows = agreement.lowest(access.session, access.project.id, below=below)
    return [Disputed(comparison_id=name, agreement=value) for name, value in rows]


def _out(found: AgreementReport, habits: Sequence[Quality]) -> AgreementOut:
    overall = found.overall
    levels = overall.levels
    return AgreementOut(
        comparisons=overall.comparisons,
        judgments=found.judgments,
        labelers=overall.labelers,
        units=overall.units,
        pairable=overall.pairable,
        without_preference=found.without_preference,
        raw=_measure(overall.raw),
        decided=_measure(overall.decided),
        alpha=_measure(overall.alpha),
        metric=overall.metric,
        strength_alpha=_measure(overall.strength_alpha),
        tau_b=_measure(overall.ranks.tau),
        top1=_measure(overall.ranks.top1),
        levels=_levels(levels) if isinstance(levels, Levels) else None,
        rounds=[_group(one) for one in found.rounds],
        guidelines=[_group(one) for one in found.versions],
        sources=[_group(one) for one in found.sources],
        pairs=[
            PairOut(first=str(one.first), second=str(one.second), raw=_measure(one.raw))
            for one in found.pairs
        ],
        by_labeler=[_labeler(found, one) for one in habits],
        kinds={str(kind): count for kind, count in found.kinds.items()},
        ratings=[_absolute(name, one) for name, one in found.absolute.criteria],
        mean_rating=found.absolute.mean and _absolute("weighted mean", found.absolute.mean),
        thumbs=found.absolute.thumbs and _absolute("thumbs", found.absolute.thumbs),
        completions_by_labeler=[
            AloneOut(labeler=name, with_others=_measure(one))
            for name, one in found.absolute.labelers
        ],
        texts=FREE_TEXT if found.texts else "",
    )


def _absolute(name: str, found: RatingAgreement) -> AbsoluteOut:
    return AbsoluteOut(
        name=name,
        judgments=found.judgments,
        pairable=found.pairable,
        raw=_measure(found.raw),
        within_one=_measure(found.within_one),
        alpha=_measure(found.alpha),
        metric=found.metric,
    )


def _labeler(found: AgreementReport, habit: Quality) -> LabelerOut:
    alone = Measure.missing(ALONE)
    agreed = next((one for one in found.labelers if one.labeler == habit.labeler), None)
    return LabelerOut(
        labeler=habit.labeler,
        judgments=habit.judgments,
        with_others=_measure(agreed.raw if agreed else alone),
        alpha=_measure(agreed.alpha if agreed else alone),
        gold=_measure(habit.gold),
        same_again=_measure(habit.same_again),
        first_place=_measure(habit.first_place),
        ties=_measure(habit.ties),
        skips=_measure(habit.skips),
        longer=_measure(habit.longer),
        median_s=habit.median_s,
        majorities_turned=found.flips.get(habit.labeler, 0),
        remarks=list(habit.remarks),
    )


def _group(one: AgreementGroup) -> GroupOut:
    return GroupOut(
        name=one.name, judgments=one.judgments, raw=_measure(one.raw), alpha=_measure(one.alpha)
    )


def _measure(found: Measure) -> MeasureOut:
    if isinstance(found.value, Undefined):
        return MeasureOut(value=None, n=found.n, reason=found.value.reason)
    if isinstance(found.interval, Interval):
        return MeasureOut(
            value=found.value, low=found.interval.low, high=found.interval.high, n=found.n
        )
    return MeasureOut(value=found.value, n=found.n, reason=f"no interval: {found.interval.reason}")


def _levels(found: Levels) -> LevelsOut:
    return LevelsOut(
        human=found.human, ceiling_low=found.ceiling_low, ceiling_high=found.ceiling_high
    )
