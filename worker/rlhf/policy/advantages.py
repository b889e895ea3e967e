"""Generalized advantage estimation and whitening over masked response tokens.

Pure functions of tensors. `ppo` computes the rewards; `losses` uses the advantages.
"""

import torch
from torch import Tensor


def estimate(
    rewards: Tensor, values: Tensor, is_response: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Return the advantages and the returns of a batch of finished episodes.

    GAE (Schulman et al. 2016, arXiv 1506.02438, equation 16). An episode ends with its last real
    token, by EOS or by the length limit, and the value after it is 0: the missing-EOS penalty takes
    the place of a bootstrapped value. Masked positions may hold anything.

    Args:
        rewards: Reward of each response token, [B, R].
        values: Value before each response token, [B, R].
        is_response: True where a token counts, [B, R]; the real tokens of a row are adjacent.
        gamma: Discount.
        lam: λ: 0 gives the TD error, 1 the return minus the value.

    Returns:
        Advantages and returns (advantage plus value), both [B, R] and 0 where masked.
    """
    rewards = rewards.masked_fill(~is_response, 0.0)
    values = values.masked_fill(~is_response, 0.0)
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0])  # B
    next_advantage = torch.zeros_like(next_value)  # B
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = (delta + gamma * lam * next_advantage) * is_response[:, t]
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages, advantages + values


def whiten(values: Tensor, is_real: Tensor) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over the real entries; the others become 0.

    The variance is that of the population (no Bessel correction), so that it is exactly 1. Equal
    entries become 0 rather than amplified rounding errors.
    """
    real = values[is_real]
    mean, variance = real.mean(), real.var(correction=0)
    scale = torch.rsqrt(variance + 1e-8)
    return ((values - mean) * scale).masked_fill(~is_real, 0.0)


def explained_variance(values: Tensor, returns: Tensor, is_real: Tensor) -> Tensor:
    """Return 1 - Var(returns - values) / Var(returns): 1 is perfect, 0 a constant prediction."""
    return_variance = returns[is_real].var(correction=0)
    residual_variance = (returns - values)[is_real].var(correction=0)
    return 1.0 - residual_variance / return_variance.clamp(min=1e-8)
