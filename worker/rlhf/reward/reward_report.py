"""Held-out evaluation of a reward model, with what it may have learned instead of preferences.

Pure functions of scored prompts. The human level on the same pairs needs individual judgments and
is computed elsewhere.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Literal

from worker.rlhf.core.examples import PreferencePair, RankedPrompt

BINS = 10
LengthHeuristic = Literal["longer", "shorter"]


@dataclass(frozen=True, slots=True)
class ScoredPrompt:
    """A ranked prompt with the raw score of each of its completions."""

    ranked: RankedPrompt
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a number of scores that differs from the number of completions.

        Raises:
            ValueError: naming the prompt and both numbers.
        """
        if len(self.scores) != len(self.ranked.completions):
            raise ValueError(
                f"ranked prompt {self.ranked.key!r} has {len(self.ranked.completions)} completions "
                f"and {len(self.scores)} scores"
            )


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Pairs with a predicted probability between two bounds, and the observed share."""

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
    """A reward model on held-out prompts.

    `accuracy` is against the majority, without undecided pairs; `vote_agreement` is the mean share
    of votes on the model's side. `calibration_error` is the mean distance, over pairs, between the
    predicted and the observed share of a calibration bin. `length_accuracy` is that of the rule
    "longer wins" or "shorter wins", whichever fits the training prompts better. A thumb counts as a
    pair with a completion that scores 0 and has the mean length of the training completions.
    """

    rankings: int
    pairs: int
    accuracy: float
    vote_agreement: float
    log_loss: float
    brier: float
    calibration: tuple[CalibrationBin, ...]
    calibration_error: float
    length_rule: LengthHeuristic
    length_accuracy: float
    length_correlation: float
    groups: tuple[Slice, ...]

    def to_json(self) -> dict[str, object]:
        """Return plain values for the manifest."""
        return asdict(self)


def report(train: Sequence[RankedPrompt], heldout: Sequence[ScoredPrompt]) -> RewardReport:
    """Return the report on held-out prompts; of the training prompts only lengths are used.

    Raises:
        ValueError: if no held-out pair was judged.
    """
    mean_length = _mean_length(train)
    pairs = list(_judged_pairs(heldout, mean_length))
    if not pairs:
        raise ValueError(f"none of {len(heldout)} held-out prompts has a judged pair")
    rule = length_rule(train)
    bins = _calibration(pairs)
    return RewardReport(
        rankings=len(heldout),
        pairs=len(pairs),
        accuracy=_accuracy(pairs),
        vote_agreement=fmean(_vote_share(pair) for pair in pairs),
        log_loss=fmean(_log_loss(pair) for pair in pairs),
        brier=fmean((_probability(pair.delta) - pair.share) ** 2 for pair in pairs),
        calibration=bins,
        calibration_error=sum(b.pairs * abs(b.predicted - b.observed) for b in bins) / len(pairs),
        length_rule=rule,
        length_accuracy=_accuracy([pair.by_length(rule) for pair in pairs]),
        length_correlation=_length_correlation(heldout),
        groups=_groups(pairs),
    )


def length_rule(train: Sequence[RankedPrompt]) -> LengthHeuristic:
    """Return which of the two length rules fits the training prompts better."""
    by_length = [_scored_by_length(ranked) for ranked in train]
    mean_length = _mean_length(train)
    pairs = list(_judged_pairs(by_length, mean_length, thumb_threshold=mean_length))
    return "shorter" if _accuracy(pairs) < 0.5 else "longer"


def longer_wins(train: Sequence[RankedPrompt]) -> list[float]:
    """Return the share of pairs in which people chose the longer response, for each prompt.

    Pairs of one length or without a majority do not count, nor do prompts that have only these.
    """
    found = []
    for ranked in train:
        pairs = [_of_pair(_scored_by_length(ranked), pair) for pair in ranked.pairs]
        decided = [pair for pair in pairs if pair.delta and pair.share != 0.5]
        if decided:
            found.append(_accuracy(decided))
    return found


@dataclass(frozen=True, slots=True)
class _JudgedPair:
    """A pair's leads of the first completion, in score and in tokens, its vote share and groups.

    `group` holds the round, the strength and the pair of sources.
    """

    delta: float
    longer_by: float
    share: float
    group: Mapping[str, str]

    def by_length(self, rule: LengthHeuristic) -> "_JudgedPair":
        return replace(self, delta=self.longer_by if rule == "longer" else -self.longer_by)


def _judged_pairs(
    scored_prompts: Sequence[ScoredPrompt], mean_length: float, *, thumb_threshold: float = 0.0
) -> Iterator[_JudgedPair]:
    """Yield every pair, then every thumb, of each prompt."""
    for scored in scored_prompts:
        yield from (_of_pair(scored, pair) for pair in scored.ranked.pairs)
        yield from _of_thumbs(scored, thumb_threshold, mean_length)


def _of_pair(scored: ScoredPrompt, pair: PreferencePair) -> _JudgedPair:
    ranked = scored.ranked
    strength = {} if pair.strength is None else {"strength": str(round(pair.strength))}
    return _JudgedPair(
        scored.scores[pair.first] - scored.scores[pair.second],
        len(ranked.completions[pair.first]) - len(ranked.completions[pair.second]),
        pair.share,
        {**ranked.group, **strength, **_sources(ranked, pair.first, pair.second)},
    )


def _of_thumbs(scored: ScoredPrompt, threshold: float, mean_length: float) -> Iterator[_JudgedPair]:
    ranked = scored.ranked
    for index, feedback in enumerate(ranked.absolutes):
        if feedback.thumb is not None:
            yield _JudgedPair(
                scored.scores[index] - threshold,
                len(ranked.completions[index]) - mean_length,
                feedback.thumb,
                {**ranked.group, **_sources(ranked, index)},
            )


def _sources(ranked: RankedPrompt, *indices: int) -> dict[str, str]:
    if not ranked.sources:
        return {}
    return {"sources": " / ".join(sorted({ranked.sources[index] for index in indices}))}


def _mean_length(ranked_prompts: Sequence[RankedPrompt]) -> float:
    lengths = [len(ids) for ranked in ranked_prompts for ids in ranked.completions]
    return fmean(lengths) if lengths else 0.0


def _scored_by_length(ranked: RankedPrompt) -> ScoredPrompt:
    return ScoredPrompt(ranked, tuple(float(len(ids)) for ids in ranked.completions))


def _accuracy(pairs: Sequence[_JudgedPair]) -> float:
    """Return the share of decided pairs on the majority's side, score ties half; ½ of none."""
    decided = [pair for pair in pairs if pair.share != 0.5]
    if not decided:
        return 0.5
    return fmean(
        0.5 if pair.delta == 0 else float((pair.delta > 0) == (pair.share > 0.5))
        for pair in decided
    )


def _vote_share(pair: _JudgedPair) -> float:
    """Return the share of votes for the completion with the higher score."""
    if pair.delta == 0:
        return 0.5
    return pair.share if pair.delta > 0 else 1.0 - pair.share


def _probability(delta: float) -> float:
    return 0.5 * (1.0 + math.tanh(delta / 2.0))


def _log_loss(pair: _JudgedPair) -> float:
    """Return the cross-entropy in nats, without overflow."""
    softplus = math.log1p(math.exp(-abs(pair.delta))) + max(-pair.delta, 0.0)
    return softplus + (1.0 - pair.share) * pair.delta


def _calibration(pairs: Sequence[_JudgedPair]) -> tuple[CalibrationBin, ...]:
    """Return the nonempty bins by the predicted winner's probability, from ½ to 1."""
    bins: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for pair in pairs:
        predicted = _probability(abs(pair.delta))
        bins[min(int((predicted - 0.5) * 2 * BINS), BINS - 1)].append(
            (predicted, _vote_share(pair))
        )
    width = 0.5 / BINS
    return tuple(
        CalibrationBin(
            low=0.5 + number * width,
            high=0.5 + (number + 1) * width,
            predicted=fmean(predicted for predicted, _ in members),
            observed=fmean(observed for _, observed in members),
            pairs=len(members),
        )
        for number, members in enumerate(bins)
        if members
    )


def _length_correlation(scored_prompts: Sequence[ScoredPrompt]) -> float:
    """Return Pearson's correlation of score and length over all completions; 0 if undefined."""
    scores = [score for scored in scored_prompts for score in scored.scores]
    lengths = [float(len(ids)) for scored in scored_prompts for ids in scored.ranked.completions]
    mean_score, mean_length = fmean(scores), fmean(lengths)
    covariance = sum(
        (score - mean_score) * (length - mean_length)
        for score, length in zip(scores, lengths, strict=True)
    )
    score_variance = sum((score - mean_score) ** 2 for score in scores)
    length_variance = sum((length - mean_length) ** 2 for length in lengths)
    if not (score_variance and length_variance):
        return 0.0
    return covariance / math.sqrt(score_variance * length_variance)


def _groups(pairs: Sequence[_JudgedPair]) -> tuple[Slice, ...]:
    """Return the accuracy on the pairs of each round, strength and pair of sources."""
    by_group: dict[tuple[str, str], list[_JudgedPair]] = defaultdict(list)
    for pair in pairs:
        for group in pair.group.items():
            by_group[group].append(pair)
    return tuple(
        Slice(name, value, len(members), _accuracy(members))
        for (name, value), members in sorted(by_group.items())
    )
