"""How good a reward model is on held-out rankings, and what it may have learned instead.

Pure functions of scored rankings. What people themselves reach on the same pairs needs the
individual judgments and is computed where these are.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Literal

from worker.rlhf.core.examples import Pair, Ranking

BINS = 10
LengthRule = Literal["longer", "shorter"]


@dataclass(frozen=True, slots=True)
class Scored:
    """A ranking with the raw score of each of its completions."""

    ranking: Ranking
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse scores that are not one per completion."""
        if len(self.scores) != len(self.ranking.completions):
            raise ValueError(
                f"ranking {self.ranking.key!r} has {len(self.ranking.completions)} completions "
                f"and {len(self.scores)} scores"
            )


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose predicted probability lay between two bounds, and what was observed."""

    low: float
    high: float
    predicted: float
    observed: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Accuracy on the pairs of one group."""

    name: str
    value: str
    pairs: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class RewardReport:
    """A reward model on held-out rankings.

    `accuracy` is against the majority, undecided pairs left out; `vote_agreement` is the mean share
    of votes on the model's side. `calibration_error` is the mean distance, over pairs, of the
    predicted from the observed share of a calibration bin. `length_accuracy` is that of the rule
    "longer wins" or "shorter wins", whichever was better on the training rankings. A thumb counts
    as a pair: the completion beside one that scores 0 and is as long as the training rankings' are.
    """

    rankings: int
    pairs: int
    accuracy: float
    vote_agreement: float
    log_loss: float
    brier: float
    calibration: tuple[Bin, ...]
    calibration_error: float
    length_rule: LengthRule
    length_accuracy: float
    length_correlation: float
    groups: tuple[Slice, ...]

    def to_json(self) -> dict[str, object]:
        """Return plain data, for a manifest."""
        return asdict(self)


def report(train: Sequence[Ranking], heldout: Sequence[Scored]) -> RewardReport:
    """Return the report on held-out rankings; of the training ones only lengths are used.

    Raises:
        ValueError: if no held-out pair was judged.

    """
    typical = _typical_length(train)
    seen = list(_judged(heldout, typical))
    if not seen:
        raise ValueError(f"none of {len(heldout)} held-out rankings has a judged pair")
    rule = length_rule(train)
    bins = _calibration(seen)
    return RewardReport(
        rankings=len(heldout),
        pairs=len(seen),
        accuracy=_accuracy(seen),
        vote_agreement=fmean(_votes_for(each) for each in seen),
        log_loss=fmean(_log_loss(each) for each in seen),
        brier=fmean((_probability(each.delta) - each.share) ** 2 for each in seen),
        calibration=bins,
        calibration_error=sum(each.pairs * abs(each.predicted - each.observed) for each in bins)
        / len(seen),
        length_rule=rule,
        length_accuracy=_accuracy([each.by_length(rule) for each in seen]),
        length_correlation=_length_correlation(heldout),
        groups=_groups(heldout, typical),
    )


def length_rule(train: Sequence[Ranking]) -> LengthRule:
    """Return which of the two rules about length fits the training rankings better."""
    by_length = [_by_length(ranking) for ranking in train]
    longer = _accuracy(list(_judged(by_length, _typical_length(train), by_length=True)))
    return "shorter" if longer < 0.5 else "longer"


@dataclass(frozen=True, slots=True)
class _Judged:
    """One judged pair: how far the first leads, by score and in tokens, its vote share, and what.

    `group` names the round, the strength and the pair of sources.
    """

    delta: float
    longer_by: float
    share: float
    group: Mapping[str, str]

    def by_length(self, rule: LengthRule) -> "_Judged":
        return replace(self, delta=self.longer_by if rule == "longer" else -self.longer_by)


def _judged(
    scored: Sequence[Scored], typical: float, *, by_length: bool = False
) -> Iterator[_Judged]:
    """Yield every pair, then every thumb, of each ranking."""
    for each in scored:
        yield from (_pair(each, pair) for pair in each.ranking.pairs)
        zero = typical if by_length else 0.0
        yield from _thumbs(each, zero, typical)


def _pair(scored: Scored, pair: Pair) -> _Judged:
    ranking = scored.ranking
    strength = {} if pair.strength is None else {"strength": str(round(pair.strength))}
    return _Judged(
        scored.scores[pair.first] - scored.scores[pair.second],
        len(ranking.completions[pair.first]) - len(ranking.completions[pair.second]),
        pair.share,
        {**ranking.group, **strength, **_sources(ranking, pair.first, pair.second)},
    )


def _thumbs(scored: Scored, zero: float, typical: float) -> Iterator[_Judged]:
    ranking = scored.ranking
    for place, each in enumerate(ranking.absolutes):
        if each.thumb is not None:
            yield _Judged(
                scored.scores[place] - zero,
                len(ranking.completions[place]) - typical,
                each.thumb,
                {**ranking.group, **_sources(ranking, place)},
            )


def _sources(ranking: Ranking, *places: int) -> dict[str, str]:
    if not ranking.sources:
        return {}
    return {"sources": " / ".join(sorted({ranking.sources[place] for place in places}))}


def _typical_length(rankings: Sequence[Ranking]) -> float:
    lengths = [len(ids) for ranking in rankings for ids in ranking.completions]
    return fmean(lengths) if lengths else 0.0


def _by_length(ranking: Ranking) -> Scored:
    return Scored(ranking, tuple(float(len(ids)) for ids in ranking.completions))


def _accuracy(seen: Sequence[_Judged]) -> float:
    """Return the share of decided pairs on the majority's side, equal scores half; ½ of none."""
    decided = [each for each in seen if each.share != 0.5]
    if not decided:
        return 0.5
    return fmean(
        0.5 if each.delta == 0 else float((each.delta > 0) == (each.share > 0.5))
        for each in decided
    )


def _votes_for(each: _Judged) -> float:
    """Return the share of votes on the side that scored higher."""
    if each.delta == 0:
        return 0.5
    return each.share if each.delta > 0 else 1.0 - each.share


def _probability(delta: float) -> float:
    return 0.5 * (1.0 + math.tanh(delta / 2.0))


def _log_loss(each: _Judged) -> float:
    """Return the cross-entropy in nats, without overflow."""
    softplus = math.log1p(math.exp(-abs(each.delta))) + max(-each.delta, 0.0)
    return softplus + (1.0 - each.share) * each.delta


def _calibration(seen: Sequence[_Judged]) -> tuple[Bin, ...]:
    """Return the bins that hold pairs, the predicted winner's side of each."""
    held: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for each in seen:
        sure = _probability(abs(each.delta))
        won = _votes_for(each)
        held[min(int((sure - 0.5) * 2 * BINS), BINS - 1)].append((sure, won))
    width = 0.5 / BINS
    return tuple(
        Bin(
            low=0.5 + number * width,
            high=0.5 + (number + 1) * width,
            predicted=fmean(sure for sure, _ in pairs),
            observed=fmean(won for _, won in pairs),
            pairs=len(pairs),
        )
        for number, pairs in enumerate(held)
        if pairs
    )


def _length_correlation(scored: Sequence[Scored]) -> float:
    """Return Pearson's correlation of score and length over all completions; 0 if undefined."""
    scores = [score for each in scored for score in each.scores]
    lengths = [float(len(ids)) for each in scored for ids in each.ranking.completions]
    mean_score, mean_length = fmean(scores), fmean(lengths)
    both = sum(
        (score - mean_score) * (length - mean_length)
        for score, length in zip(scores, lengths, strict=True)
    )
    of_score = sum((score - mean_score) ** 2 for score in scores)
    of_length = sum((length - mean_length) ** 2 for length in lengths)
    return both / math.sqrt(of_score * of_length) if of_score and of_length else 0.0


def _groups(scored: Sequence[Scored], typical: float) -> tuple[Slice, ...]:
    """Return the accuracy on the pairs of each round, strength and pair of sources."""
    held: dict[tuple[str, str], list[_Judged]] = defaultdict(list)
    for each in _judged(scored, typical):
        for item in each.group.items():
            held[item].append(each)
    return tuple(
        Slice(name, value, len(seen), _accuracy(seen))
        for (name, value), seen in sorted(held.items())
    )
