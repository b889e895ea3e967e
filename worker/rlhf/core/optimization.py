"""The end of an optimizer step, which every loop takes in the same way."""

from torch.optim import Optimizer


def advance(optimizer: Optimizer, learning_rate: float) -> None:
    """Take a step at a learning rate and drop the gradients."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
