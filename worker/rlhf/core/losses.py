"""The losses: preferences between scores, and the clipped objectives of policy and value.

Every one returns a value per element and leaves the reduction to the caller, who divides by the
count of the whole batch: that is what makes gradients independent of how the batch is cut.
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
    """Return -log σ(Δ - m) of each pair, expected over who won it.

    Bradley-Terry as in InstructGPT (arXiv 2203.02155, equation 1); margin of Llama 2 (arXiv
    2307.09288, equation 2), here for whichever side won, so that a soft target is an average of two
    hard ones. Scores are fp32.

    Args:
        first: Score of the first of each pair, [N].
        second: Score of the second of each pair, [N].
        share: Probability or vote share of the first being preferred, [N], ½ for a tie.
        margin: By how much the winner should lead, [N] or a number.
        smoothing: Probability that a judgment is the wrong way round.

    """
    delta = first - second
    share = share * (1.0 - 2.0 * smoothing) + smoothing
    if_first = functional.logsigmoid(delta - margin)
    if_second = functional.logsigmoid(-delta - margin)
    return -(share * if_first + (1.0 - share) * if_second)


def thumbs(scores: Tensor, share: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the binary cross-entropy of each score as the log-odds of a thumb up, [N].

    A thumb is a comparison with a score of 0, which is how it fixes the scores' offset.

    Args:
        scores: [N], fp32.
        share: Share of thumbs up, [N].
        smoothing: Probability that a thumb is the wrong way round.

    """
    return preference(scores, torch.zeros_like(scores), share, smoothing=smoothing)


def centering(first: Tensor, second: Tensor) -> Tensor:
    """Return (r₁ + r₂)² of each pair (Eisenstein et al. 2023, arXiv 2312.09244, section 2).

    Preferences leave the scores' offset free; this ties it to 0.
    """
    return (first + second).square()


def plackett_luce(scores: Tensor, ranks: Tensor, is_real: Tensor) -> Tensor:
    """Return the negative log-likelihood of each ordering, [B].

    Plackett-Luce by the partial likelihood of Cox with Breslow's ties: each completion is the best
    of those ranked no better than it. Two tied completions cost what two half judgments each way
    cost, counted twice; K = 2 without a tie is Bradley-Terry.

    Args:
        scores: [B, K].
        ranks: 0 is best, equal numbers tie, [B, K].
        is_real: True where a completion exists, [B, K].

    """
    worse = (ranks[:, None, :] >= ranks[:, :, None]) & is_real[:, None, :]  # B K K
    field = scores[:, None, :].expand(worse.shape)
    log_sum = field.masked_fill(~worse, float("-inf")).logsumexp(-1)  # B K
    return (log_sum - scores).masked_fill(~is_real, 0.0).sum(-1)


def clipped_policy(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return the clipped surrogate's loss of each token (PPO, arXiv 1707.06347, equation 7)."""
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1.0 - clip, 1.0 + clip))


def clipped_value(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Return half the squared error of each token, moves beyond `clip` not rewarded.

    openai/baselines `ppo2/model.py`, and Ziegler et al. 2019 after it.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (clipped - returns).square())
