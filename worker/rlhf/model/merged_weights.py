"""Weights of layers with their active adapters merged, without changing the base."""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn


def base_layer(module: nn.Module) -> Any:
    """Return the base layer of an adapter, or the layer itself."""
    return module.base_layer if isinstance(module, LoraLayer) else module


@torch.no_grad()
def merged_weight(module: Any) -> Tensor:
    """Return a layer's weight with its active adapters merged; without any, it is the base's.

    The sum is computed in fp32 and rounded once, to the base's own precision.
    """
    weight: Tensor = base_layer(module).weight
    if not hasattr(module, "get_delta_weight") or module.disable_adapters:
        return weight.detach()
    total = weight.float()
    for name in module.active_adapters:
        if name in module.lora_A:
            total = total + module.get_delta_weight(name).float()
    return total.to(weight.dtype).detach()
