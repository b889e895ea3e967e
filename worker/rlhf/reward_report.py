"""How good a reward model is on held-out rankings, and what it may have learned instead.

Pure functions of scored rankings. What people themselves reach on the same pairs needs the
individual judgments and is computed where these are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from statistics import fmean
from typing import Literal

from worker.rlhf.data import Pair, Ranking

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
    of votes on the model's side. `length_accuracy` is that of the rule "longer wins" or "shorter
    wins", whichever was better on the training rankings.
    """

    rankings: int
    pairs: int
    accuracy: float
    vote_agreement: float
    log_loss: float
    brier: float
    calibration: tuple[Bin, ...]
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
    seen = list(_judged(heldout))
    if not seen:
        raise ValueError(f"none of {len(heldout)} held-out rankings has a judged pair")
    rule = length_rule(train)
    return RewardReport(
        rankings=len(heldout),
        pairs=len(seen),
        accuracy=_accuracy(seen),
        vote_agreement=fmean(_votes_for(each) for each in seen),
        log_loss=fmean(_log_loss(each) for each in seen),
        brier=fmean((_probability(each.delta) - each.share) ** 2 for each in seen),
        calibration=_calibration(seen),
        length_rule=rule,
        length_accuracy=_accuracy([each.by_length(rule) for each in seen]),
        length_correlation=_length_correlation(heldout),
        groups=_groups(heldout),
    )


def length_rule(train: Sequence[Ranking]) -> LengthRule:
    """Return which of the two rules about length fits the training rankings better."""
    by_length = [_by_length(ranking) for ranking in train]
    longer = _accuracy(list(_judged(by_length)))
    return "shorter" if longer < 0.5 else "longer"


@dataclass(frozen=True, slots=True)
class _Judged:
    """One judged pair: how far the first leads, by score and in tokens, and its vote share."""

    delta: float
    longer_by: int
    share: float

    def by_length(self, rule: LengthRule) -> "_Judged":
        return _Judged(
            self.longer_by if rule == "longer" else -self.longer_by, self.longer_by, self.share
        )


def _judged(scored: Sequence[Scored]) -> Iterator[_Judged]:
    return chain.from_iterable(
        (_pair(each, pair) for pair in each.ranking.pairs) for each in scored
    )


def _pair(scored: Scored, pair: Pair) -> _Judged:
    completions = scored.ranking.completions
    return _Judged(
        scored.scores[pair.first] - scored.scores[pair.second],
        len(completions[pair.first]) - len(completions[pair.second]),
        pair.share,
    )


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


def _groups(scored: Sequence[Scored]) -> tuple[Slice, ...]:
    named = sorted({item for each in scored for item in each.ranking.group.items()})
    slices = []
    for name, value in named:
        seen = list(_judged([each for each in scored if each.ranking.group.get(name) == value]))
        slices.append(Slice(name, value, len(seen), _accuracy(seen)))
    return tuple(slices)
