"""Losses and accuracy of scores on ranked prompts.

Pure functions: `scoring` computes the scores, and `reward_model` and `dpo` train on the losses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from worker.rlhf.core import config_checks, losses
from worker.rlhf.core.examples import PreferencePair, RankedPrompt
from worker.rlhf.reward.shared_prefix import Branches

LossName = Literal["pairs", "plackett_luce"]


@dataclass(frozen=True, slots=True)
class Terms:
    """The loss and its terms.

    `smoothing` is the probability that a judgment is flipped; `centering` weighs (r₁ + r₂)².
    """

    loss: LossName = "pairs"
    with_margin: bool = True
    smoothing: float = 0.0
    centering: float = 0.01

    def __post_init__(self) -> None:
        """Refuse terms for which no loss is defined.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        config_checks.require_within(self, 0.0, 0.5, "smoothing")
        config_checks.require_within(self, 0.0, math.inf, "centering")
        if self.loss == "plackett_luce" and self.smoothing:
            raise ValueError(
                "smoothing applies to the loss of pairs, not to Plackett-Luce; "
                f"got {self.smoothing}"
            )


@dataclass(frozen=True, slots=True)
class TooLong:
    """A ranked prompt that was left out because of its longest completion."""

    key: str
    completion: int
    tokens: int


@dataclass(frozen=True, slots=True)
class RankingFit:
    """How well scores fit the judgments on some ranked prompts."""

    loss: float
    accuracy: float
    margin: float


def split_by_length(
    ranked_prompts: Sequence[RankedPrompt], max_tokens: int
) -> tuple[list[RankedPrompt], list[TooLong]]:
    """Split the judged prompts into those that fit within `max_tokens` and those too long."""
    kept: list[RankedPrompt] = []
    too_long: list[TooLong] = []
    for ranked in ranked_prompts:
        if not ranked.is_judged:
            continue
        lengths = [len(ranked.prompt_ids) + len(ids) for ids in ranked.completions]
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        if lengths[longest] <= max_tokens:
            kept.append(ranked)
        else:
            too_long.append(TooLong(ranked.key, longest, lengths[longest]))
    return kept, too_long


def branches_of(ranked: RankedPrompt) -> Branches:
    """Return a prompt and its completions in the form that is scored."""
    return Branches(ranked.prompt_ids, ranked.completions, ranked.leads)


def loss_of(
    scores: Sequence[Tensor], ranked_prompts: Sequence[RankedPrompt], terms: Terms
) -> Tensor:
    """Return the loss of each prompt, [B]: the mean over its pairs plus that over its thumbs.

    Dividing by the number of pairs makes prompts, rather than pairs, weigh equally (InstructGPT,
    arXiv 2203.02155, section 3.5). Every term is multiplied by the weight of its judgments. Ratings
    do not contribute; they have heads of their own, see `criterion_heads`.

    Args:
        scores: Scores of each prompt's completions, [K] each, fp32.
        ranked_prompts: The prompts with their judgments.
        terms: The loss of pairs and its settings.
    """
    prompt_losses = []
    for prompt_scores, ranked in zip(scores, ranked_prompts, strict=True):
        if ranked.pairs:
            loss = _pair_loss(prompt_scores, ranked, terms)
        else:
            loss = prompt_scores.new_zeros(())
        if any(feedback.thumb is not None for feedback in ranked.absolutes):
            loss = loss + _thumb_loss(prompt_scores, ranked, terms)
        prompt_losses.append(loss)
    return torch.stack(prompt_losses)


def _pair_loss(scores: Tensor, ranked: RankedPrompt, terms: Terms) -> Tensor:
    pairs = ranked.pairs
    first, second = _pair_scores(scores, pairs)
    weight = torch.tensor([pair.weight for pair in pairs], device=scores.device)
    pair_losses = terms.centering * losses.centering(first, second)
    if terms.loss == "pairs":
        share = torch.tensor([pair.share for pair in pairs], device=scores.device)
        margin = torch.tensor([pair.margin for pair in pairs], device=scores.device)
        margin = margin if terms.with_margin else torch.zeros_like(margin)
        pair_losses = pair_losses + losses.preference(
            first, second, share, margin=margin, smoothing=terms.smoothing
        )
    loss = (weight * pair_losses).mean()
    if terms.loss == "plackett_luce":
        ranks = ranks_of(ranked).to(scores.device)
        is_real = torch.ones_like(ranks, dtype=torch.bool)
        ranking_loss = losses.plackett_luce(scores[None], ranks[None], is_real[None])[0]
        loss = loss + weight.mean() * ranking_loss
    return loss


def _thumb_loss(scores: Tensor, ranked: RankedPrompt, terms: Terms) -> Tensor:
    indices, shares, weights = _thumbs(ranked)
    thumb_losses = losses.thumbs(
        scores[indices], shares.to(scores.device), smoothing=terms.smoothing
    )
    return (weights.to(scores.device) * thumb_losses).mean()


def _thumbs(ranked: RankedPrompt) -> tuple[list[int], Tensor, Tensor]:
    """Return the indices of the completions with thumbs, their shares of thumbs up, and weights."""
    indices = [n for n, feedback in enumerate(ranked.absolutes) if feedback.thumb is not None]
    feedbacks = [ranked.absolutes[index] for index in indices]
    return (
        indices,
        torch.tensor([feedback.thumb for feedback in feedbacks]),
        torch.tensor([feedback.weight for feedback in feedbacks]),
    )


def ranks_of(ranked: RankedPrompt) -> Tensor:
    """Return each completion's rank by the share of judgments won, [K]: 0 is best, ties equal."""
    won = torch.zeros(len(ranked.completions), dtype=torch.float64)
    judged = torch.zeros_like(won)
    for pair in ranked.pairs:
        won[pair.first] += pair.share * pair.weight
        won[pair.second] += (1.0 - pair.share) * pair.weight
        judged[[pair.first, pair.second]] += pair.weight
    win_rate = (won / judged.clamp(min=1e-12)).round(decimals=9)
    return (win_rate[None, :] > win_rate[:, None]).sum(1)


@torch.no_grad()
def fit_of(scores: Sequence[Tensor], ranked_prompts: Sequence[RankedPrompt]) -> RankingFit:
    """Return the loss, accuracy and margin of scores over all pairs and thumbs.

    A thumb is a comparison with a score of 0. Ties are left out of the accuracy, which is ½ if
    nothing remains.
    """
    deltas, shares = [], []
    for prompt_scores, ranked in zip(scores, ranked_prompts, strict=True):
        prompt_scores = prompt_scores.cpu()
        if ranked.pairs:
            first, second = _pair_scores(prompt_scores, ranked.pairs)
            deltas.append(first - second)
            shares.append(torch.tensor([pair.share for pair in ranked.pairs]))
        indices, thumb_shares, _ = _thumbs(ranked)
        deltas.append(prompt_scores[indices])
        shares.append(thumb_shares)
    delta, share = torch.cat(deltas), torch.cat(shares)
    if not len(delta):
        return RankingFit(0.0, 0.5, 0.0)
    loss = losses.preference(delta, torch.zeros_like(delta), share).mean()
    is_decided = share != 0.5
    winner_leads = torch.where(share > 0.5, delta, -delta)[is_decided]
    if not len(winner_leads):
        return RankingFit(float(loss), 0.5, 0.0)
    is_right = (winner_leads > 0).float() + 0.5 * (winner_leads == 0).float()
    return RankingFit(float(loss), float(is_right.mean()), float(winner_leads.mean()))


def batch_metrics(
    batch: Sequence[RankedPrompt], scores_by_row: Sequence[tuple[int, Tensor]], *, loss: float
) -> dict[str, float]:
    """Return the metrics of a training step from its scores, each with its row in the batch."""
    scores = [row_scores for _, row_scores in scores_by_row]
    fit = fit_of(scores, [batch[row] for row, _ in scores_by_row])
    flat = torch.cat(scores)
    return {
        "loss": loss,
        "accuracy": fit.accuracy,
        "margin": fit.margin,
        "reward/mean": float(flat.mean()),
        "reward/std": float(flat.std(correction=0)),
    }


def _pair_scores(scores: Tensor, pairs: Sequence[PreferencePair]) -> tuple[Tensor, Tensor]:
    """Return the scores of the first and of the second completion of each pair."""
    return scores[[pair.first for pair in pairs]], scores[[pair.second for pair in pairs]]
