"""How well an AI judge agrees with people and with itself, from judgments on the same comparisons.

Every comparison counts the same, however many people judged it, and intervals are clustered by
prompt. People's agreement with each other, on the same comparisons, is what the judge's is held
against. Which judgments count is left to the caller. Ratings and thumbs are in `rated_measures`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from app.domain import jackknife
from app.domain.judges.rated_measures import SingleMeasures
from app.domain.measures import Measure
from app.domain.ranking import Ranking

LEAST_COMPARED = 30
"""Comparisons with people's judgments that a judge must have judged before it labels alone."""

NOBODY = "no comparison has been judged by both"
NOT_TWO = "no comparison has been judged by two people"
NOTHING = "it has judged nothing yet"
ALL_TIES = "it finds every pair tied"


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """A judge's judgment of one comparison, with what people said of it.

    `first_shown` has, for each order asked, whether the judge preferred the response shown first;
    ties and rankings have no entry. `lengths` are in characters, by canonical position.
    """

    prompt_id: int
    ranking: Ranking
    is_consistent: bool
    lengths: tuple[int, ...]
    first_shown: tuple[bool, ...] = ()
    people: tuple[Ranking, ...] = ()


@dataclass(frozen=True, slots=True)
class RatedComparison:
    """A judge's ratings or thumb of one comparison: did its replies agree, have people judged it.

    What was said is in `rated_measures`.
    """

    prompt_id: int
    is_consistent: bool
    is_compared: bool


@dataclass(frozen=True, slots=True)
class JudgeMeasures:
    """A judge's agreement with people, and its habits.

    `agreement` is over pairs on which the judge and a person both have a preference;
    `with_ties` also counts a tie of the judge as half. `people` is the agreement of two people on
    the same comparisons. `consistency` is the share of comparisons on which both orders gave the
    same, ratings at most one point apart; `first_place` the share of preferences for what was shown
    first. `judged`, `compared`, `inconsistent` and `consistency` are over comparisons of all kinds;
    `single` has the agreement on ratings and thumbs, the others that on picks and rankings.
    """

    judged: int
    compared: int
    agreement: Measure
    with_ties: Measure
    people: Measure
    consistency: Measure
    first_place: Measure
    longer: Measure
    people_longer: Measure
    ties: int
    inconsistent: int
    single: SingleMeasures = field(default_factory=SingleMeasures)


def measure(
    items: Sequence[JudgedItem],
    rated: Sequence[RatedComparison] = (),
    single: SingleMeasures | None = None,
) -> JudgeMeasures:
    """Measure a judge on its judgments; `single` are the measures of those in `rated`."""
    shared = [item for item in items if item.people]
    asked: list[JudgedItem | RatedComparison] = [*items, *rated]
    return JudgeMeasures(
        judged=len(asked),
        compared=len(shared) + sum(one.is_compared for one in rated),
        agreement=_mean(shared, lambda item: _matches(item, None), NOBODY),
        with_ties=_mean(shared, lambda item: _matches(item, 0.5), NOBODY),
        people=_mean(shared, _among_people, NOT_TWO),
        consistency=jackknife.share(
            [float(one.is_consistent) for one in asked],
            jackknife.numbered(one.prompt_id for one in asked),
            nothing=NOTHING,
        ),
        first_place=_mean(items, lambda item: [float(is_first) for is_first in item.first_shown]),
        longer=_mean(items, lambda item: _longer([item.ranking], item.lengths)),
        people_longer=_mean(shared, lambda item: _longer(item.people, item.lengths), NOBODY),
        ties=sum(len(item.ranking.groups) == 1 for item in items),
        inconsistent=sum(not one.is_consistent for one in asked),
        single=single or SingleMeasures(),
    )


def _mean(
    items: Iterable[JudgedItem],
    values_of: Callable[[JudgedItem], list[float]],
    nothing: str = ALL_TIES,
) -> Measure:
    known = [(item.prompt_id, values) for item in items if (values := values_of(item))]
    return jackknife.share(
        [sum(values) / len(values) for _, values in known],
        jackknife.numbered(prompt_id for prompt_id, _ in known),
        nothing=nothing,
    )


def _matches(item: JudgedItem, tie: float | None) -> list[float]:
    """Return 1 for each preference of a person that the judge shares, else 0; `tie` for its ties.

    With `tie` None, its ties do not count.
    """
    matches = []
    for person in item.people:
        for own, other in zip(item.ranking.signs, person.signs, strict=True):
            if other and own:
                matches.append(float(own == other))
            elif other and tie is not None:
                matches.append(tie)
    return matches


def _among_people(item: JudgedItem) -> list[float]:
    return [
        float(one == other)
        for first, second in combinations(item.people, 2)
        for one, other in zip(first.signs, second.signs, strict=True)
        if one and other
    ]


def _longer(rankings: Iterable[Ranking], lengths: Sequence[int]) -> list[float]:
    """Return 1 for each preference for the longer of two responses, else 0."""
    pairs = list(combinations(lengths, 2))
    return [
        float((sign > 0) == (first > second))
        for ranking in rankings
        for sign, (first, second) in zip(ranking.signs, pairs, strict=True)
        if sign and first != second
    ]
