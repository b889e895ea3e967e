"""Losses: preferences between scores, and the clipped objectives of policy and value.

Each returns one value per element and leaves the reduction to the caller, which divides by the
count of the whole batch, so that gradients do not depend on the split into micro-batches.
"""

import torch
from torch import Tensor
from torch.nn import functional


def preference(
    first: Tensor,
    second: Tensor,
    share: Tensor,
    *,
    margin: Tensor | float = 0.0,
    smoothing: float = 0.0,
) -> Tensor:
    """Return -log σ(Δ - m) of each pair, in expectation over which side wins.

    Bradley-Terry as in InstructGPT (arXiv 2203.02155, equation 1); margin of Llama 2 (arXiv
    2307.09288, equation 2), applied to either winner, so that a soft target is the average of two
    hard ones. Scores are fp32.

    Args:
        first: Score of the first of each pair, [N].
        second: Score of the second of each pair, [N].
        share: Probability or vote share of the first being preferred, [N], ½ for a tie.
        margin: By how much the winner should lead, [N] or a number.
        smoothing: Probability that a judgment is flipped.

    """
    delta = first - second
    share = share * (1.0 - 2.0 * smoothing) + smoothing
    if_first = functional.logsigmoid(delta - margin)
    if_second = functional.logsigmoid(-delta - margin)
    return -(share * if_first + (1.0 - share) * if_second)


def thumbs(scores: Tensor, share: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the binary cross-entropy of each score as the log-odds of a thumb up, [N].

    A thumb is a comparison with a score of 0, which also fixes the offset of the scores.

    Args:
        scores: [N], fp32.
        share: Share of thumbs up, [N].
        smoothing: Probability that a thumb is flipped.

    """
    return preference(scores, torch.zeros_like(scores), share, smoothing=smoothing)


def centering(first: Tensor, second: Tensor) -> Tensor:
    """Return (r₁ + r₂)² of each pair (Eisenstein et al. 2023, arXiv 2312.09244, section 2).

    Preferences leave the offset of the scores free; this pulls it to 0.
    """
    return (first + second).square()


def plackett_luce(scores: Tensor, ranks: Tensor, is_real: Tensor) -> Tensor:
    """Return the negative log-likelihood of each ordering, [B].

    Plackett-Luce as a Cox partial likelihood with Breslow's ties: each completion is the best of
    those ranked no better than it. Two tied completions contribute twice the loss of half a
    judgment each way; K = 2 without a tie is Bradley-Terry.

    Args:
        scores: [B, K].
        ranks: 0 is best, equal numbers tie, [B, K].
        is_real: True where a completion exists, [B, K].

    """
    is_no_better = (ranks[:, None, :] >= ranks[:, :, None]) & is_real[:, None, :]  # B K K
    expanded = scores[:, None, :].expand(is_no_better.shape)
    log_sum = expanded.masked_fill(~is_no_better, float("-inf")).logsumexp(-1)  # B K
    return (log_sum - scores).masked_fill(~is_real, 0.0).sum(-1)


def clipped_policy(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return the clipped surrogate loss of each token (PPO, arXiv 1707.06347, equation 7)."""
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1.0 - clip, 1.0 + clip))


def clipped_value(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Return half the squared error of each token; changes beyond `clip` earn nothing.

    openai/baselines `ppo2/model.py`, adopted by Ziegler et al. 2019.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (clipped - returns).square())
