"""How an AI judge's ratings, or thumbs, of single responses compare with people's and its own.

They are measured by the same function as people's (`agreement.rating_report`), with the judge on
one side and each person on the other, so that people's agreement with each other never enters the
judge's figure, nor its judgments theirs. Each comparison counts the same, however many people
judged it; intervals are clustered by prompt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.domain import agreement
from app.domain.agreement import Rating, RatingAgreement
from app.domain.krippendorff import DistanceMetric
from app.domain.measures import Measure

NOBODY = "no response has been judged by both"
NOT_TWO = "no response has been judged by two people"
NOTHING = "it has judged nothing yet"
Values = Sequence[float]
"""The rating of each canonical position; a thumb is 1 (up) or 0 (down)."""


@dataclass(frozen=True, slots=True)
class RatedItem:
    """A judge's ratings of one comparison on one criterion, with those of people.

    `own` is empty where the judge gave no thumb because its replies contradict each other. `first`
    and `second` are its replies to both requests; `people` are by labeler.
    """

    comparison_id: int
    prompt_id: int
    own: Values
    first: Values
    second: Values
    people: Sequence[tuple[str, Values]] = ()


@dataclass(frozen=True, slots=True)
class RatedAgreement:
    """Agreement of two sides on ratings: identical, within one point, Krippendorff's alpha, kappa.

    `kappa` is Cohen's between the judge and people or itself, and Fleiss' among people. `responses`
    are those that both sides, or two people, have judged.
    """

    responses: int
    identical: Measure
    within_one: Measure
    alpha: Measure
    kappa: Measure


@dataclass(frozen=True, slots=True)
class CriterionMeasures:
    """A judge on one criterion: with people, people with each other, and both of its replies.

    People are compared on the responses that the judge has judged, too. `undecided` comparisons
    have two replies that contradict each other.
    """

    metric: DistanceMetric
    with_people: RatedAgreement
    people: RatedAgreement
    itself: RatedAgreement
    undecided: int = 0


@dataclass(frozen=True, slots=True)
class SingleMeasures:
    """A judge on single responses: each criterion, their weighted mean in half points, and thumbs.

    The mean is None with fewer than two criteria, and thumbs are None where none were given.
    """

    criteria: tuple[tuple[str, CriterionMeasures], ...] = ()
    mean: CriterionMeasures | None = None
    thumbs: CriterionMeasures | None = None


def measure(
    items: Iterable[RatedItem], *, metric: DistanceMetric = DistanceMetric.ORDINAL
) -> CriterionMeasures:
    """Measure a judge on one criterion; thumbs are nominal."""
    known = list(items)
    judged = [item for item in known if item.own]
    among = [rating for item in judged for rating in _of_people(item)]
    report = agreement.rating_report(among, metric=metric)
    return CriterionMeasures(
        metric,
        with_people=_of_two(judged, "people", metric, NOBODY),
        people=_agreement(report, report.fleiss, report.pairable, NOT_TWO),
        itself=_of_two(known, "second", metric, NOTHING),
        undecided=len(known) - len(judged),
    )


def _of_two(
    items: Iterable[RatedItem], other: str, metric: DistanceMetric, nothing: str
) -> RatedAgreement:
    """Measure the judge against people, or its first reply against its second."""
    ratings: list[Rating] = []
    responses = 0
    for item in items:
        own = item.own if other == "people" else item.first
        others = item.people if other == "people" else [(other, item.second)]
        responses += len(own) if others else 0
        for name, values in others:
            # A unit for each person: the judge's rating of a response, and that person's.
            for position, pair in enumerate(zip(own, values, strict=True)):
                ratings += [
                    Rating(item.comparison_id, (position, name), side, value, item.prompt_id)
                    for side, value in zip(("judge", "other"), pair, strict=True)
                ]
    report = agreement.rating_report(ratings, metric=metric)
    kappa = report.pairs[0].kappa if report.pairs else Measure.missing(nothing)
    return _agreement(report, kappa, responses, nothing)


def _of_people(item: RatedItem) -> Iterable[Rating]:
    return (
        Rating(item.comparison_id, position, name, value, item.prompt_id)
        for name, values in item.people
        for position, value in enumerate(values)
    )


def _agreement(
    report: RatingAgreement, kappa: Measure, responses: int, nothing: str
) -> RatedAgreement:
    if not report.pairable:
        missing = Measure.missing(nothing)
        return RatedAgreement(0, missing, missing, missing, missing)
    return RatedAgreement(
        responses, report.raw, report.within_one, report.alpha_by_comparison, kappa
    )
