"""Rankings as a reward model meets them: what scores of theirs cost, and how well they agree.

Pure functions; where scores come from is `scoring`'s business and what to do about them `reward`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from worker.rlhf import losses
from worker.rlhf.data import Pair, Ranking
from worker.rlhf.prefix import Branches

LossName = Literal["pairs", "plackett_luce"]


@dataclass(frozen=True, slots=True)
class Terms:
    """Which loss. `smoothing` is the chance of a wrong judgment, `centering` weighs (r₁ + r₂)²."""

    loss: LossName = "pairs"
    with_margin: bool = True
    smoothing: float = 0.0
    centering: float = 0.01


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
        if not ranking.pairs:
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
    """Return the loss of each ranking, [B]: the mean over its pairs, each times its weight.

    Dividing by the number of pairs makes prompts, and not pairs, weigh equally (InstructGPT, arXiv
    2203.02155, section 3.5).

    Args:
        scores: Scores [K] of each ranking's completions, fp32.
        rankings: The judged pairs of each.
        terms: Which loss, and what goes with it.

    """
    each = []
    for mine, ranking in zip(scores, rankings, strict=True):
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
            total = total + losses.plackett_luce(mine[None], ranks[None], everyone[None])[0]
        each.append(total)
    return torch.stack(each)


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
    """Return loss, accuracy and margin of scores over all judged pairs; ties judge no accuracy."""
    deltas, shares = [], []
    for mine, ranking in zip(scores, rankings, strict=True):
        first, second = _sides(mine.cpu(), ranking.pairs)
        deltas.append(first - second)
        shares.append(torch.tensor([pair.share for pair in ranking.pairs]))
    delta, share = torch.cat(deltas), torch.cat(shares)
    loss = losses.preference(delta, torch.zeros_like(delta), share).mean()
    decided = share != 0.5
    sided = torch.where(share > 0.5, delta, -delta)[decided]
    right = (sided > 0).float() + 0.5 * (sided == 0).float()
    return Agreement(float(loss), float(right.mean()), float(sided.mean()))


def _sides(scores: Tensor, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Return the scores of the first and of the second of each pair."""
    return scores[[pair.first for pair in pairs]], scores[[pair.second for pair in pairs]]
