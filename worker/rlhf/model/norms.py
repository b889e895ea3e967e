"""RMS norms and rotary embeddings with hand-written backward passes; pure functions."""

import torch
from torch import Tensor


def normed(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the root-mean-square norm of x, [N, d], and the inverse root mean square, [N, 1].

    Zhang and Sennrich 2019 (arXiv 1910.07467, equation 4).
    """
    mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    inverse = mean_square.add_(eps).rsqrt_()
    return (x * inverse).mul_(weight), inverse


def normed_backward(grad_normed: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient of x: g r - x r³ mean(g x), with g the gradient times the weight.

    r is the inverse root mean square.
    """
    scaled = grad_normed.mul(weight)
    projection = (scaled * x).mean(-1, keepdim=True) * inverse.pow(3)
    return scaled.mul_(inverse).addcmul_(x, projection, value=-1.0)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, head: int, dtype: torch.dtype) -> Tensor:
    """Apply the rotary embedding to each head, [N, H*D] or [N, H, D].

    Su et al. 2021 (arXiv 2104.09864, equation 34), with the halves of a head paired instead of
    neighboring entries. The gradient is the same function with the sine negated.
    """
    heads = x.reshape(x.shape[0], -1, head) if x.ndim == 2 else x
    common_dtype = torch.promote_types(cos.dtype, x.dtype)
    first, second = heads.to(common_dtype).chunk(2, -1)
    out = torch.empty(heads.shape, dtype=common_dtype, device=x.device)
    low, high = out.chunk(2, -1)
    torch.mul(first, cos, out=low).addcmul_(second, sin, value=-1.0)
    torch.mul(second, cos, out=high).addcmul_(first, sin)
    return out.flatten(1).to(dtype)
