"""Norms and rotations of a Llama's layer, forward and backward by hand; pure functions."""

import torch
from torch import Tensor


def normed(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the root-mean-square norm of x, [N, d], and what x was multiplied with, [N, 1].

    Zhang and Sennrich 2019 (arXiv 1910.07467, equation 4).
    """
    mean = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    inverse = mean.add_(eps).rsqrt_()
    return (x * inverse).mul_(weight), inverse


def normed_back(of_normed: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient of x: g r - x r³ mean(g x), with g the gradient times the weight."""
    scaled = of_normed.mul(weight)
    along = (scaled * x).mean(-1, keepdim=True) * inverse.pow(3)
    return scaled.mul_(inverse).addcmul_(x, along, value=-1.0)


def turned(x: Tensor, cos: Tensor, sin: Tensor, head: int, dtype: torch.dtype) -> Tensor:
    """Rotate the two halves of each head against each other, [N, H*D] or [N, H, D].

    Su et al. 2021 (arXiv 2104.09864, equation 34), halves instead of neighbours. The gradient is
    the same with the sine's sign turned round.
    """
    heads = x.reshape(x.shape[0], -1, head) if x.ndim == 2 else x
    full = torch.promote_types(cos.dtype, x.dtype)
    first, second = heads.to(full).chunk(2, -1)
    out = torch.empty(heads.shape, dtype=full, device=x.device)
    low, high = out.chunk(2, -1)
    torch.mul(first, cos, out=low).addcmul_(second, sin, value=-1.0)
    torch.mul(second, cos, out=high).addcmul_(first, sin)
    return out.flatten(1).to(dtype)
