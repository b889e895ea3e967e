"""The fields of agreement in the API, and how reports are turned into them."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from app.domain.agreement import EXPECTATION, WEIGHTING, RatingAgreement
from app.domain.labeler_agreement import ALONE, PairAgreement
from app.domain.labeler_weights import ProposedWeight
from app.domain.measures import Interval, Measure, Undefined
from app.domain.noise_ceiling import Levels
from app.services.quality.absolute_agreement import FREE_TEXT
from app.services.quality.agreement import AgreementBin, AgreementGroup, AgreementReport
from app.services.quality.labeler_quality import Quality
from app.web import figures

ALPHA = "Krippendorff's alpha as published: each judgment counts the same."
ALPHA_BY_COMPARISON = "Alpha with each comparison counting the same, whatever its overlap."
FLEISS = "Fleiss' kappa; where overlap is unequal, each pair of responses counts the same."


class MeasureOut(BaseModel):
    """A value with its 95 % interval; without a value, `reason` says why it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = Field(0, description="The number of comparisons or trials it is based on.")
    reason: str = ""


class LevelsOut(BaseModel):
    """The human level, and the range of the noise ceiling."""

    human: float
    ceiling_low: float
    ceiling_high: float


class GroupOut(BaseModel):
    """Agreement within one group of judgments."""

    name: str
    judgments: int
    raw: MeasureOut
    alpha: MeasureOut


class LabelerPairOut(BaseModel):
    """Agreement of two labelers on the comparisons that both judged."""

    first: str
    second: str
    raw: MeasureOut
    kappa: MeasureOut = Field(description="Cohen's kappa.")


class LabelerOut(BaseModel):
    """A labeler's agreement with the others, and their quality measures."""

    labeler: str
    judgments: int
    with_others: MeasureOut
    alpha: MeasureOut
    gold: MeasureOut
    same_again: MeasureOut
    first_place: MeasureOut = Field(description="How often they chose the response shown first.")
    ties: MeasureOut
    skips: MeasureOut
    longer: MeasureOut = Field(description="How often they chose the longer of two responses.")
    longer_by_others: MeasureOut = Field(description="How often all others together did so.")
    median_s: float | None
    majorities_turned: int
    remarks: list[str]
    user_id: int
    thumbs_up: MeasureOut
    first_place_expected: float | None = Field(description="How often chance would have chosen it.")
    figures: dict[str, MeasureOut] = Field(description="All of the above, and any others, by name.")


class LabelerWeightOut(BaseModel):
    """A proposed weight; `reason` says why it is 1 where nothing could be estimated."""

    labeler: str
    choices: int
    shared: int = Field(description="Choices that others made too, or whose answer is known.")
    gold: int = Field(description="Choices whose answer is known.")
    accuracy: MeasureOut
    first_place_pull: MeasureOut = Field(
        description="The pull of the response shown first, in log-odds."
    )
    weight: float
    low: float | None
    high: float | None
    reason: str


class WeightProposalOut(BaseModel):
    """Proposed weights, and the pairs of completions whose majority they would change."""

    labelers: list[LabelerWeightOut]
    weights: dict[str, float] = Field(
        description="The estimated weights by pseudonym, as `PUT …/weights/in-use` takes them."
    )
    pairs: int
    flipped: int
    decided_ties: int
    undecided: int


class AbsoluteOut(BaseModel):
    """Agreement on single responses: ratings of a criterion, their mean, or thumbs."""

    name: str
    judgments: int
    pairable: int = Field(description="Responses judged by two or more labelers.")
    raw: MeasureOut = Field(description="Share of identical pairs.")
    within_one: MeasureOut = Field(description="Share of pairs at most one point apart.")
    alpha: MeasureOut = Field(description=ALPHA)
    alpha_by_comparison: MeasureOut = Field(description=ALPHA_BY_COMPARISON)
    fleiss: MeasureOut = Field(description=FLEISS)
    metric: str
    pairs: list[LabelerPairOut]
    figures: dict[str, MeasureOut] = Field(description="All of the above, and any others, by name.")


class AgreementBinOut(BaseModel):
    """Agreement on comparisons that were completed one after another."""

    start: datetime
    end: datetime
    versions: list[int] = Field(description="Of the guidelines.")
    raw: MeasureOut


class CompletionAgreementOut(BaseModel):
    """How often others' ratings are within one point of a labeler's, or their thumbs the same."""

    labeler: str
    with_others: MeasureOut


class AgreementOut(BaseModel):
    """The agreement report of a project, or of the selected part of it."""

    comparisons: int
    judgments: int
    labelers: int
    units: int
    pairable: int
    without_preference: int
    chosen: int = Field(description="Judgments on comparisons that a rule chose.")
    includes_chosen: bool = Field(description="Whether the figures include those.")
    raw: MeasureOut = Field(description="Share of labeler pairs that agree, by comparison.")
    decided: MeasureOut = Field(description="Agreement without ties: the human level.")
    alpha: MeasureOut = Field(description=ALPHA)
    alpha_by_comparison: MeasureOut = Field(description=ALPHA_BY_COMPARISON)
    metric: str
    strength_alpha: MeasureOut
    fleiss: MeasureOut = Field(description=FLEISS)
    cohen: MeasureOut = Field(description="Cohen's kappa, with exactly two labelers.")
    tau_b: MeasureOut
    w: MeasureOut = Field(description="Kendall's W of the rankings of a comparison, on average.")
    top1: MeasureOut
    levels: LevelsOut | None
    rounds: list[GroupOut]
    guidelines: list[GroupOut]
    sources: list[GroupOut]
    categories: list[GroupOut] = Field(description="Empty with fewer than two categories.")
    pairs: list[LabelerPairOut]
    by_labeler: list[LabelerOut]
    kinds: dict[str, int] = Field(description="Number of judgments of each kind.")
    ratings: list[AbsoluteOut]
    mean_rating: AbsoluteOut | None
    thumbs: AbsoluteOut | None
    completions_by_labeler: list[CompletionAgreementOut]
    texts: str = Field("", description="Why agreement is not defined for written text.")
    over_time: list[AgreementBinOut] = Field(
        description="Groups of comparisons of equal size, by when they were completed."
    )
    figures: dict[str, MeasureOut] = Field(
        description="Every figure of the overall agreement by name, kappas and coverage included."
    )
    expectation: str = EXPECTATION
    weighting: str = WEIGHTING


class DisputedComparison(BaseModel):
    """A comparison and the agreement on it."""

    comparison_id: int
    agreement: float


def report_out(report: AgreementReport, qualities: Sequence[Quality]) -> AgreementOut:
    """Return a report with the quality of each labeler."""
    overall = report.overall
    levels = overall.levels
    return AgreementOut(
        comparisons=overall.comparisons,
        judgments=report.judgments,
        labelers=overall.labelers,
        units=overall.units,
        pairable=overall.pairable,
        without_preference=report.without_preference,
        chosen=report.chosen,
        includes_chosen=report.includes_chosen,
        raw=measure_out(overall.raw),
        decided=measure_out(overall.decided),
        alpha=measure_out(overall.alpha),
        alpha_by_comparison=measure_out(overall.alpha_by_comparison),
        metric=overall.metric,
        strength_alpha=measure_out(overall.strength_alpha),
        fleiss=measure_out(overall.fleiss),
        cohen=measure_out(overall.cohen),
        tau_b=measure_out(overall.ranks.tau),
        w=measure_out(overall.ranks.w),
        top1=measure_out(overall.ranks.top1),
        levels=_levels(levels) if isinstance(levels, Levels) else None,
        rounds=[_group(group) for group in report.rounds],
        guidelines=[_group(group) for group in report.versions],
        sources=[_group(group) for group in report.sources],
        categories=[_group(group) for group in report.categories],
        pairs=[_pair(pair) for pair in report.pairs],
        by_labeler=[_labeler(report, quality) for quality in qualities],
        kinds={str(kind): count for kind, count in report.kinds.items()},
        ratings=[_absolute(name, ratings) for name, ratings in report.absolute.criteria],
        mean_rating=report.absolute.mean and _absolute("weighted mean", report.absolute.mean),
        thumbs=report.absolute.thumbs and _absolute("thumbs", report.absolute.thumbs),
        completions_by_labeler=[
            CompletionAgreementOut(labeler=name, with_others=measure_out(measure))
            for name, measure in report.absolute.labelers
        ],
        texts=FREE_TEXT if report.texts else "",
        over_time=[_bin(each) for each in report.over_time],
        figures=_figures(overall),
    )


def _absolute(name: str, ratings: RatingAgreement) -> AbsoluteOut:
    return AbsoluteOut(
        name=name,
        judgments=ratings.judgments,
        pairable=ratings.pairable,
        raw=measure_out(ratings.raw),
        within_one=measure_out(ratings.within_one),
        alpha=measure_out(ratings.alpha),
        alpha_by_comparison=measure_out(ratings.alpha_by_comparison),
        fleiss=measure_out(ratings.fleiss),
        metric=ratings.metric,
        pairs=[_pair(pair) for pair in ratings.pairs],
        figures=_figures(ratings),
    )


def _pair(pair: PairAgreement) -> LabelerPairOut:
    return LabelerPairOut(
        first=str(pair.first),
        second=str(pair.second),
        raw=measure_out(pair.raw),
        kappa=measure_out(pair.kappa),
    )


def _labeler(report: AgreementReport, quality: Quality) -> LabelerOut:
    alone = Measure.missing(ALONE)
    agreed = next((row for row in report.labelers if row.labeler == quality.labeler), None)
    return LabelerOut(
        labeler=quality.labeler,
        judgments=quality.judgments,
        with_others=measure_out(agreed.raw if agreed else alone),
        alpha=measure_out(agreed.alpha if agreed else alone),
        gold=measure_out(quality.gold),
        same_again=measure_out(quality.same_again),
        first_place=measure_out(quality.first_place),
        ties=measure_out(quality.ties),
        skips=measure_out(quality.skips),
        longer=measure_out(quality.longer),
        longer_by_others=measure_out(quality.longer_by_others),
        median_s=quality.median_s,
        majorities_turned=report.flips.get(quality.labeler, 0),
        remarks=list(quality.remarks),
        user_id=quality.user_id,
        thumbs_up=measure_out(quality.thumbs_up),
        first_place_expected=quality.first_place_expected,
        figures=_figures(quality),
    )


def _group(group: AgreementGroup) -> GroupOut:
    return GroupOut(
        name=group.name,
        judgments=group.judgments,
        raw=measure_out(group.raw),
        alpha=measure_out(group.alpha),
    )


def _bin(group: AgreementBin) -> AgreementBinOut:
    return AgreementBinOut(
        start=group.start,
        end=group.end,
        versions=list(group.versions),
        raw=measure_out(group.raw),
    )


def _figures(report: object) -> dict[str, MeasureOut]:
    return {name: measure_out(measure) for name, measure in figures.named(report).items()}


def measure_out(measure: Measure) -> MeasureOut:
    """Return a figure, or the reason why there is none."""
    if isinstance(measure.value, Undefined):
        return MeasureOut(value=None, n=measure.n, reason=measure.value.reason)
    if isinstance(measure.interval, Interval):
        return MeasureOut(
            value=measure.value, low=measure.interval.low, high=measure.interval.high, n=measure.n
        )
    return MeasureOut(
        value=measure.value, n=measure.n, reason=f"no interval: {measure.interval.reason}"
    )


def _levels(levels: Levels) -> LevelsOut:
    return LevelsOut(
        human=levels.human, ceiling_low=levels.ceiling_low, ceiling_high=levels.ceiling_high
    )


def weight_out(proposed: ProposedWeight) -> LabelerWeightOut:
    """Return a proposed weight."""
    interval = proposed.weight_interval
    return LabelerWeightOut(
        labeler=str(proposed.labeler),
        choices=proposed.choices,
        shared=proposed.shared,
        gold=proposed.gold,
        accuracy=measure_out(proposed.accuracy),
        first_place_pull=measure_out(proposed.slot_pull),
        weight=proposed.weight,
        low=interval.low if isinstance(interval, Interval) else None,
        high=interval.high if isinstance(interval, Interval) else None,
        reason=proposed.reason,
    )
