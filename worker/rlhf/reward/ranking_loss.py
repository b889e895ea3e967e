"""Rankings as a reward model meets them: what scores of theirs cost, and how well they agree.

Pure functions; where scores come from is `scoring`'s business and what to do about them `reward`'s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from worker.rlhf.core import checks, losses
from worker.rlhf.core.examples import Pair, Ranking
from worker.rlhf.reward.shared_prefix import Branches

LossName = Literal["pairs", "plackett_luce"]


@dataclass(frozen=True, slots=True)
class Terms:
    """Which loss. `smoothing` is the chance of a wrong judgment, `centering` weighs (r₁ + r₂)²."""

    loss: LossName = "pairs"
    with_margin: bool = True
    smoothing: float = 0.0
    centering: float = 0.01

    def __post_init__(self) -> None:
        """Refuse terms that no loss is defined for.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        checks.within(self, 0.0, 0.5, "smoothing")
        checks.within(self, 0.0, math.inf, "centering")
        if self.loss == "plackett_luce" and self.smoothing:
            raise ValueError(
                f"smoothing belongs to the loss of pairs; Plackett-Luce has none, got "
                f"{self.smoothing}"
            )


@dataclass(frozen=True, slots=True)
class TooLong:
    """A ranking that was left out, and why."""

    key: str
    completion: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How scores agree with the judgments of some rankings."""

    loss: float
    accuracy: float
    margin: float


def split_by_length(
    rankings: Sequence[Ranking], max_tokens: int
) -> tuple[list[Ranking], list[TooLong]]:
    """Part the judged rankings that fit from those with a completion that does not, naming it."""
    kept: list[Ranking] = []
    too_long: list[TooLong] = []
    for ranking in rankings:
        if not ranking.is_judged:
            continue
        lengths = [len(ranking.prompt_ids) + len(ids) for ids in ranking.completions]
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        if lengths[longest] <= max_tokens:
            kept.append(ranking)
        else:
            too_long.append(TooLong(ranking.key, longest, lengths[longest]))
    return kept, too_long


def branches_of(ranking: Ranking) -> Branches:
    """Return a ranking's prompt and completions as a row to be."""
    return Branches(ranking.prompt_ids, ranking.completions)


def loss_of(scores: Sequence[Tensor], rankings: Sequence[Ranking], terms: Terms) -> Tensor:
    """Return the loss of each ranking, [B]: the means over its pairs and over its thumbs.

    Dividing by the number of pairs makes prompts, and not pairs, weigh equally (InstructGPT, arXiv
    2203.02155, section 3.5). Every term is multiplied by its judgments' weight. Ratings cost
    nothing here; they have heads of their own, see `criteria`.

    Args:
        scores: Scores [K] of each ranking's completions, fp32.
        rankings: What was judged of each.
        terms: Which loss of pairs, and what goes with it.

    """
    each = []
    for mine, ranking in zip(scores, rankings, strict=True):
        total = _of_pairs(mine, ranking, terms) if ranking.pairs else mine.new_zeros(())
        if any(one.thumb is not None for one in ranking.absolutes):
            total = total + _of_thumbs(mine, ranking, terms)
        each.append(total)
    return torch.stack(each)


def _of_pairs(mine: Tensor, ranking: Ranking, terms: Terms) -> Tensor:
    pairs = ranking.pairs
    first, second = _sides(mine, pairs)
    weight = torch.tensor([pair.weight for pair in pairs], device=mine.device)
    term = terms.centering * losses.centering(first, second)
    if terms.loss == "pairs":
        share = torch.tensor([pair.share for pair in pairs], device=mine.device)
        margin = torch.tensor([pair.margin for pair in pairs], device=mine.device)
        margin = margin if terms.with_margin else torch.zeros_like(margin)
        term = term + losses.preference(
            first, second, share, margin=margin, smoothing=terms.smoothing
        )
    total = (weight * term).mean()
    if terms.loss == "plackett_luce":
        ranks = ranks_of(ranking).to(mine.device)
        everyone = torch.ones_like(ranks, dtype=torch.bool)
        order = losses.plackett_luce(mine[None], ranks[None], everyone[None])[0]
        total = total + weight.mean() * order
    return total


def _of_thumbs(mine: Tensor, ranking: Ranking, terms: Terms) -> Tensor:
    places, shares, weights = _thumbs(ranking)
    term = losses.thumbs(mine[places], shares.to(mine.device), smoothing=terms.smoothing)
    return (weights.to(mine.device) * term).mean()


def _thumbs(ranking: Ranking) -> tuple[list[int], Tensor, Tensor]:
    """Return the completions that got thumbs, by place, their shares of thumbs up, and weights."""
    given = [(n, one) for n, one in enumerate(ranking.absolutes) if one.thumb is not None]
    return (
        [place for place, _ in given],
        torch.tensor([one.thumb for _, one in given]),
        torch.tensor([one.weight for _, one in given]),
    )


def ranks_of(ranking: Ranking) -> Tensor:
    """Return each completion's rank by the share of judgments it won, 0 best, equal for ties."""
    won = torch.zeros(len(ranking.completions), dtype=torch.float64)
    judged = torch.zeros_like(won)
    for pair in ranking.pairs:
        won[pair.first] += pair.share * pair.weight
        won[pair.second] += (1.0 - pair.share) * pair.weight
        judged[[pair.first, pair.second]] += pair.weight
    rate = (won / judged.clamp(min=1e-12)).round(decimals=9)
    return (rate[None, :] > rate[:, None]).sum(1)


@torch.no_grad()
def agreement_of(scores: Sequence[Tensor], rankings: Sequence[Ranking]) -> Agreement:
    """Return loss, accuracy and margin of scores over all that was judged.

    A thumb is a comparison with a score of 0. Ties judge no accuracy; of nothing it is ½.
    """
    deltas, shares = [], []
    for mine, ranking in zip(scores, rankings, strict=True):
        mine = mine.cpu()
        if ranking.pairs:
            first, second = _sides(mine, ranking.pairs)
            deltas.append(first - second)
            shares.append(torch.tensor([pair.share for pair in ranking.pairs]))
        places, thumbs, _ = _thumbs(ranking)
        deltas.append(mine[places])
        shares.append(thumbs)
    delta, share = torch.cat(deltas), torch.cat(shares)
    if not len(delta):
        return Agreement(0.0, 0.5, 0.0)
    loss = losses.preference(delta, torch.zeros_like(delta), share).mean()
    decided = share != 0.5
    sided = torch.where(share > 0.5, delta, -delta)[decided]
    if not len(sided):
        return Agreement(float(loss), 0.5, 0.0)
    right = (sided > 0).float() + 0.5 * (sided == 0).float()
    return Agreement(float(loss), float(right.mean()), float(sided.mean()))


def _sides(scores: Tensor, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Return the scores of the first and of the second of each pair."""
    return scores[[pair.first for pair in pairs]], scores[[pair.second for pair in pairs]]
