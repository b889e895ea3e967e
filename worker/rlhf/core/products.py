"""Matrix products with frozen weights on CPUs.

PyTorch multiplies fp32 with MKL, which is slower than oneDNN on processors of AMD: 79 to 91 against
97 to 105 GFLOP/s with one thread (Zen 4, PyTorch 2.13, 2,048 rows and 384 to 1,024 columns). There
the operator that TorchInductor uses is called instead. Which library computes depends on the
processor alone, never on timing, so that a run that is resumed computes the same.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PROCESSOR = Path("/proc/cpuinfo")
SLOW_IN_MKL = "AuthenticAMD"


@cache
def prefers_onednn() -> bool:
    """Return whether oneDNN multiplies fp32 faster on this processor, and can be called."""
    is_built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (is_built and PROCESSOR.exists()):
        return False
    vendors = (line for line in PROCESSOR.read_text().splitlines() if line.startswith("vendor_id"))
    return SLOW_IN_MKL in next(vendors, "") and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def packs_bf16() -> bool:
    """Return whether oneDNN takes weights in bf16 on this processor; it needs AVX-512 for them."""
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(2, 2, dtype=torch.bfloat16), None)
    except (AttributeError, RuntimeError):
        return False
    return True


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b without a graph, [N, in] and [out, in] -> [N, out]."""
    if _is_for_onednn(x) and weight.dtype == torch.float32:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return F.linear(x, weight, bias)


def back(grad_out: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of the input of `linear`, grad W, [N, out] -> [N, in]."""
    if _is_for_onednn(grad_out) and weight.dtype == torch.float32:
        return linear(grad_out, weight.t())
    return grad_out @ weight


def through(layer: nn.Module, x: Tensor) -> Tensor:
    """Return a layer's output, with its graph; `linear` computes a frozen linear map in fp32."""
    is_plain = type(layer) is nn.Linear and not layer.weight.requires_grad
    if is_plain and _is_for_onednn(x) and not torch.is_autocast_enabled("cpu"):
        assert isinstance(layer, nn.Linear)
        if layer.weight.dtype == torch.float32:
            out: Tensor = _Frozen.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
            return out
    out = layer(x)
    return out


class PackedLinear:
    """A constant linear map in the memory layout in which oneDNN multiplies a few rows fastest.

    The layout replaces the weight. A weight that others hold too is not packed, because that would
    take further memory; elsewhere it is a plain product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, is_own: bool = True) -> None:
        self.dtype = weight.dtype
        self._bias = bias
        self._is_packed = is_own and _can_pack(weight)
        self._weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
            if self._is_packed
            else weight
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Return the product in the dtype of x, [..., in] -> [..., out]."""
        rows = x.to(self.dtype)
        if not self._is_packed:
            flat = rows.flatten(0, -2)
            return linear(flat, self._weight, self._bias).view(*x.shape[:-1], -1).to(x.dtype)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._weight, self._bias, "none", [], ""
        )
        return out.to(x.dtype)


class _Frozen(torch.autograd.Function):
    """y = x Wᵀ + b with W and b frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        (grad_out,) = gradients
        return back(grad_out, weight), None, None


def _is_for_onednn(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and prefers_onednn()


def _can_pack(weight: Tensor) -> bool:
    """Return whether oneDNN multiplies this weight faster: in bf16 it does so wherever it can."""
    if weight.device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    if weight.dtype == torch.bfloat16:
        return packs_bf16()
    return weight.dtype == torch.float32 and prefers_onednn()
