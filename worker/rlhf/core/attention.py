"""Scaled dot-product attention in fp32 on CPUs, inside bf16 autocast.

PyTorch's attention kernel for CPUs is slower backward in bf16 than in fp32 (2.13, AVX-512 BF16, 30
rows of 128 tokens, 6 heads of 32: 66 against 29 ms), while matrix products are several times
faster in it. Without autocast this is the library's own attention, bit for bit.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_in_fp32"
BOOLEAN_MASKS = frozenset({"sdpa", NAME})
"""Attention implementations that take a boolean mask per pair of tokens."""


def prefer_fp32(model: PreTrainedModel) -> None:
    """Switch a model on a CPU to attention in fp32 if it uses the library's SDPA attention.

    A model without weights is treated as one on a CPU; on a GPU the switch has no effect.
    """
    if model.device.type in ("cpu", "meta") and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, None]:
    if not (query.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    if settings.get("position_bias") is not None:  # it is added to the scores, as a mask is
        settings["position_bias"] = settings["position_bias"].float()
    with torch.autocast("cpu", enabled=False):
        return sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **settings
        )


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
