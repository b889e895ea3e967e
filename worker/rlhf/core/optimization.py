"""The end of an optimizer step, which every loop takes in the same way."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer


def clip(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Scale gradients down to a norm of at most `most`; return the norm before.

    Of parameters that processes divide, it is the norm of all parts; all processes must call it.
    """
    clipped = list(parameters)
    if not any(isinstance(parameter, DTensor) for parameter in clipped):
        return clip_grad_norm_(clipped, most)
    norm = get_total_norm([p.grad for p in clipped if p.grad is not None])
    assert isinstance(norm, DTensor)
    whole: Tensor = norm.full_tensor()
    clip_grads_with_norm_(clipped, most, whole)
    return whole


def advance(optimizer: Optimizer, learning_rate: float) -> None:
    """Take a step at a learning rate and drop the gradients."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
