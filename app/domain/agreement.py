"""Agreement among labelers on preferences and on ratings, with intervals clustered by prompt.

Agreement is about which completion is better, never about the side of the screen, and each pair
counts in both orientations, so that the order of the completions cannot matter. Selecting the
judgments and presenting the numbers is left to callers.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean

import numpy as np

from app.domain import coincidences, jackknife, kendall, labeler_agreement
from app.domain.coincidences import Coincidences, Weighting
from app.domain.kendall import RankAgreement
from app.domain.krippendorff import DistanceMetric, parts
from app.domain.labeler_agreement import PairAgreement
from app.domain.measures import Measure, Undefined
from app.domain.noise_ceiling import Levels, levels
from app.domain.votes import Vote, VoteTable, have_strength, tabulate
from app.errors import Invalid

EXPECTATION = (
    "On real preference data, trained labelers agree 63 to 77 % of the time, which corresponds to "
    "an alpha of about 0.3 to 0.55; disagreement is often a matter of taste."
)
WEIGHTING = (
    "Krippendorff’s alpha counts each judgment of a pair the same, as published; raw agreement "
    "counts each comparison the same, and Fleiss’ kappa each pair of responses."
)
ALL_TIES = "every judgment is a tie, so nobody chose between two responses"
NONE_DECIDED = "no pair of responses has two judgments that are not ties"
_NO_STRENGTH = "not every vote is a pick between two responses with a strength"


@dataclass(frozen=True, slots=True)
class PreferenceAgreement:
    """Agreement on preferences.

    ``raw`` is the share of labeler pairs that give the same preference on a pair of completions;
    ``decided`` is the same share among votes that are not ties, which is the human level.
    ``alpha`` is nominal if there are no ties and ordinal otherwise; ``metric`` records which. It
    counts each judgment the same, as Krippendorff defines it; ``alpha_by_comparison`` counts each
    comparison the same, as ``raw`` and ``decided`` do, and equals it where overlap is equal.
    ``pairable`` of the ``units`` were judged at least twice.
    """

    comparisons: int
    judgments: int
    labelers: int
    units: int
    pairable: int
    coverage: float | Undefined
    raw: Measure
    decided: Measure
    alpha: Measure
    alpha_by_comparison: Measure
    metric: DistanceMetric
    strength_alpha: Measure
    ranks: RankAgreement
    cohen: Measure
    fleiss: Measure
    levels: Levels | Undefined


@dataclass(frozen=True, slots=True)
class Rating:
    """One labeler's rating of one completion in a comparison on one criterion.

    A thumb is a rating of 1 (up) or 0 (down). ``prompt`` is what intervals are clustered by;
    without it, the comparison is.
    """

    comparison: Hashable
    completion: Hashable
    labeler: Hashable
    value: float
    prompt: Hashable = None

    @property
    def cluster(self) -> Hashable:
        """The prompt, or without it the comparison, told apart from any prompt."""
        return ("alone", self.comparison) if self.prompt is None else ("", self.prompt)


@dataclass(frozen=True, slots=True)
class RatingAgreement:
    """Agreement on the ratings of one criterion.

    ``raw`` is the share of labeler pairs that give a completion exactly the same rating,
    ``within_one`` the share whose ratings are at most one point apart; both count each comparison
    the same. ``alpha`` uses ``metric`` and counts each judgment the same, as Krippendorff defines
    it; ``alpha_by_comparison`` counts each comparison the same.
    """

    comparisons: int
    judgments: int
    labelers: int
    units: int
    pairable: int
    coverage: float | Undefined
    raw: Measure
    within_one: Measure
    alpha: Measure
    alpha_by_comparison: Measure
    fleiss: Measure
    pairs: tuple[PairAgreement, ...]
    metric: DistanceMetric


def report(votes: Iterable[Vote]) -> PreferenceAgreement:
    """Measure the agreement of votes. Raises Invalid if a labeler votes twice on a comparison."""
    all_votes = list(votes)
    with_strength = bool(all_votes) and have_strength(all_votes)
    return of_table(
        tabulate(all_votes), tabulate(all_votes, by_strength=True) if with_strength else None
    )


def of_table(table: VoteTable, by_strength: VoteTable | None = None) -> PreferenceAgreement:
    """Measure the agreement of tabulated votes.

    ``by_strength`` is the table of the same votes with their strengths, if all of them have one.
    """
    counts = table.counts()
    pairable = int((counts.sum(axis=1) >= 2).sum())
    metric = table.metric
    decided = decided_agreement(table)
    by_judgment, by_comparison, by_unit = (
        coincidences.of_units(counts, table.owner, table.cluster, weighting)
        for weighting in (Weighting.JUDGMENT, Weighting.COMPARISON, Weighting.UNIT)
    )
    return PreferenceAgreement(
        comparisons=len(table.comparisons),
        judgments=table.judgments,
        labelers=len(table.labelers),
        units=len(table.owner),
        pairable=pairable,
        coverage=_coverage(pairable, len(table.owner)),
        raw=coincidences.share(by_comparison),
        decided=decided,
        alpha=coincidences.alpha(by_judgment.both_ways(), table.values, metric),
        alpha_by_comparison=coincidences.alpha(by_comparison.both_ways(), table.values, metric),
        metric=metric,
        strength_alpha=preference_alpha(by_strength, DistanceMetric.ORDINAL)
        if by_strength is not None
        else Measure.missing(_NO_STRENGTH),
        ranks=kendall.rank_agreement(table),
        cohen=_cohen(table),
        fleiss=coincidences.fleiss(by_unit.both_ways()),
        levels=levels(decided.value),
    )


def rating_report(
    ratings: Iterable[Rating], *, metric: DistanceMetric = DistanceMetric.ORDINAL
) -> RatingAgreement:
    """Measure the agreement of the ratings of one criterion; the unit is a completion.

    Raises Invalid if a labeler rates a completion twice.
    """
    all_ratings = list(ratings)
    _by_unit(all_ratings)  # raises Invalid for a completion rated twice
    table = _rating_table(all_ratings)
    counts, points = table.counts(), table.values
    by_judgment, by_comparison, by_unit = (
        coincidences.of_units(counts, table.owner, table.cluster, weighting)
        for weighting in (Weighting.JUDGMENT, Weighting.COMPARISON, Weighting.UNIT)
    )
    pairable = int((counts.sum(axis=1) >= 2).sum())
    return RatingAgreement(
        comparisons=len(table.comparisons),
        judgments=len(all_ratings),
        labelers=len(table.labelers),
        units=len(table.owner),
        pairable=pairable,
        coverage=_coverage(pairable, len(table.owner)),
        raw=coincidences.share(by_comparison),
        within_one=coincidences.share(by_comparison, np.abs(points[:, None] - points[None]) <= 1),
        alpha=coincidences.alpha(by_judgment, points, metric),
        alpha_by_comparison=coincidences.alpha(by_comparison, points, metric),
        fleiss=coincidences.fleiss(by_unit),
        pairs=labeler_agreement.in_pairs(table, both_ways=False),
        metric=metric,
    )


def shares_with_others(
    ratings: Iterable[Rating], *, reach: float = 0.0
) -> Iterator[tuple[Rating, float]]:
    """Yield each rating with the share of the other ratings that lie within ``reach`` of it.

    Completions with a single rating are left out. Raises Invalid if a labeler rates a completion
    twice.
    """
    all_ratings = list(ratings)
    counts = {name: Counter(unit.values()) for name, unit in _by_unit(all_ratings).items()}
    for rating in all_ratings:
        unit = counts[rating.comparison, rating.completion]
        if unit.total() > 1:
            near = sum(n for value, n in unit.items() if abs(value - rating.value) <= reach)
            yield rating, (near - 1) / (unit.total() - 1)


def mean_share(
    shares: Iterable[Sequence[float]], prompts: Iterable[Hashable] | None = None
) -> Measure:
    """Measure the mean of shares, averaging those of one comparison first.

    ``prompts`` names the prompt of each comparison.
    """
    means = [fmean(comparison_shares) for comparison_shares in shares]
    return jackknife.share(means, None if prompts is None else jackknife.numbered(prompts))


def raw_agreement(table: VoteTable) -> Measure:
    """Measure the share of labeler pairs that agree, counting each comparison the same."""
    return coincidences.share(_coincidences(table, Weighting.COMPARISON))


def decided_agreement(table: VoteTable) -> Measure:
    """Measure raw agreement among votes that are not ties."""
    found = _coincidences(table.decided(), Weighting.COMPARISON)
    any_pair = bool((np.bincount(table.unit) >= 2).any())
    reason = ALL_TIES if table.is_all_ties else NONE_DECIDED if any_pair else ""
    return coincidences.share(found, nothing=reason)


def preference_alpha(
    table: VoteTable, metric: DistanceMetric, weighting: Weighting = Weighting.JUDGMENT
) -> Measure:
    """Measure Krippendorff's alpha of preferences, counting each pair in both orientations."""
    found = _coincidences(table, weighting).both_ways()
    return coincidences.alpha(found, table.values, metric)


def by_comparison(votes: Iterable[Vote]) -> dict[Hashable, float]:
    """Return the raw agreement of each comparison judged at least twice, lowest first."""
    return by_comparison_of_table(tabulate(list(votes)))


def by_comparison_of_table(table: VoteTable, *, below: float = inf) -> dict[Hashable, float]:
    """Return the raw agreement of comparisons judged at least twice, lowest first, if below."""
    counts, size = table.counts(), len(table.comparisons)
    units, shares = np.zeros(size, dtype=np.int64), np.zeros(size)
    for part in parts(len(counts)):
        of_part = counts[part].astype(float)
        judged = of_part.sum(axis=1)
        kept = judged >= 2
        of_part, judged, owner = of_part[kept], judged[kept], table.owner[part][kept]
        same = (of_part * (of_part - 1)).sum(axis=1) / (judged * (judged - 1))
        np.add.at(units, owner, 1)
        np.add.at(shares, owner, same)
    means = (shares / np.maximum(units, 1)).round(12)
    which = np.flatnonzero((units > 0) & (means < below))
    order = which[np.argsort(means[which], kind="stable")]
    names = (table.comparisons[at] for at in order.tolist())
    return dict(zip(names, means[order].tolist(), strict=True))


def _coincidences(table: VoteTable, weighting: Weighting) -> Coincidences:
    return coincidences.of_units(table.counts(), table.owner, table.cluster, weighting)


def _rating_table(ratings: Sequence[Rating]) -> VoteTable:
    """Tabulate ratings: a unit is a completion, a code the place of a value among those given."""
    labelers = list(dict.fromkeys(rating.labeler for rating in ratings))
    units = list(dict.fromkeys((rating.comparison, rating.completion) for rating in ratings))
    prompts = {rating.comparison: rating.cluster for rating in ratings}
    comparisons = list(dict.fromkeys(comparison for comparison, _ in units))
    points, code = np.unique(
        np.array([rating.value for rating in ratings], dtype=float), return_inverse=True
    )
    return VoteTable(
        comparisons=tuple(comparisons),
        labelers=tuple(labelers),
        unit=jackknife.numbered((rating.comparison, rating.completion) for rating in ratings),
        labeler=jackknife.numbered(rating.labeler for rating in ratings),
        code=code.astype(np.int64),
        owner=jackknife.numbered(comparison for comparison, _ in units),
        cluster=jackknife.numbered(prompts[comparison] for comparison in comparisons),
        values=points,
        judgments=len(ratings),
        has_rankings=len(units) > len(comparisons),
    )


def _by_unit(
    ratings: Iterable[Rating],
) -> dict[tuple[Hashable, Hashable], dict[Hashable, float]]:
    """Group ratings by comparison and completion: labeler to value."""
    units: dict[tuple[Hashable, Hashable], dict[Hashable, float]] = {}
    for rating in ratings:
        unit = units.setdefault((rating.comparison, rating.completion), {})
        if rating.labeler in unit:
            raise Invalid(f"labeler {rating.labeler} rates completion {rating.completion} twice")
        unit[rating.labeler] = rating.value
    return units


def _coverage(pairable: int, units: int) -> float | Undefined:
    return pairable / units if units else Undefined("there are no judgments")


def _cohen(table: VoteTable) -> Measure:
    if len(table.labelers) != 2:
        return Measure.missing(
            f"Cohen’s kappa needs exactly two labelers, not {len(table.labelers)}"
        )
    pairs = labeler_agreement.in_pairs(table)
    return pairs[0].kappa if pairs else Measure.missing(jackknife.NOTHING)
