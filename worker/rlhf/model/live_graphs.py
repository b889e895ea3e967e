"""Tracking of checkpointed forward passes whose backward has not run."""

from typing import Any

import torch
from torch import Tensor


class LiveGraph:
    """A checkpointed forward pass, alive until its backward begins; it is freed with its graph."""

    __slots__ = ("__weakref__", "alive")

    def __init__(self) -> None:
        self.alive = True


class BackwardMarker(torch.autograd.Function):
    """Identity on hidden states that marks their graph as done when its backward begins."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, live: LiveGraph) -> Tensor:
        """Return the hidden states unchanged."""
        ctx.live = live
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Mark the graph as done and return the gradient unchanged."""
        ctx.live.alive = False
        return gradients[0], None
