"""Generalised advantage estimation and whitening over masked response tokens.

Pure functions of tensors. What the rewards are made of is `ppo`'s business; what the advantages are
used for is `losses`'.
"""

import torch
from torch import Tensor


def estimate(
    rewards: Tensor, values: Tensor, is_response: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Return the advantages and the returns of a batch of finished episodes.

    GAE (Schulman et al. 2016, arXiv 1506.02438, equation 16). An episode ends with its last real
    token, whether by the end token or by the length limit: the value after it is 0 (the limit is
    paid for by the missing-EOS penalty instead of a bootstrap). Masked positions may hold anything.

    Args:
        rewards: Reward of each response token, [B, R].
        values: Value before each response token, [B, R].
        is_response: True where a token counts, [B, R]; each row's real tokens are adjacent.
        gamma: Discount.
        lam: The exponential average's weight: 0 is the TD error, 1 the return minus the value.

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

    The variance is that of the population (no Bessel correction), so that it is 1 exactly. Equal
    entries become 0 and not an amplified rounding error.
    """
    real = values[is_real]
    mean, variance = real.mean(), real.var(correction=0)
    scale = torch.rsqrt(variance + 1e-8)
    return ((values - mean) * scale).masked_fill(~is_real, 0.0)


def masked_mean(values: Tensor, is_real: Tensor) -> Tensor:
    """Average over the real entries; 0 where there is none."""
    return values.masked_fill(~is_real, 0.0).sum() / is_real.sum().clamp(min=1)


def explained_variance(values: Tensor, returns: Tensor, is_real: Tensor) -> Tensor:
    """Return 1 minus the residual's share of the returns' variance: 1 perfect, 0 a constant."""
    of_returns = returns[is_real].var(correction=0)
    of_residual = (returns - values)[is_real].var(correction=0)
    return 1.0 - of_residual / of_returns.clamp(min=1e-8)
