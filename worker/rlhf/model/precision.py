"""The precision that a device computes and holds weights in.

A processor's flags do not say: with `avx512_bf16` alone, bf16 was measured at half the speed of
fp32 on one machine and at four times on another. So it is measured, once per process, and a run
keeps the choice with its state, since it must resume to the same weights.
"""

import time

import torch
from torch.nn import functional as F

SIDE = 384
"""Of the square matrices multiplied: about a millisecond a product."""
TURNS = 20
FASTER = 1.5
"""How many times as fast bf16 must be: the operations between the products stay in fp32, and the
casts between them take time."""


class _Held:
    """What this process chose for CPUs: measured, or held from the run that it continues."""

    def __init__(self) -> None:
        self.bf16: bool | None = None


_held = _Held()


def has_fast_bf16(device: torch.device | str = "cpu") -> bool:
    """Return whether loops compute in bf16 on a device unless they are told otherwise."""
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return False
    if _held.bf16 is None:
        _held.bf16 = bf16_speedup() >= FASTER
    return _held.bf16


def of_frozen(device: torch.device | str) -> torch.dtype:
    """Return the dtype of base weights that only adapters are trained on.

    On a GPU that computes in bf16 the weights would be rounded to it in every product, so they are
    held in it, in half the memory. Adapters, heads, optimizers and log-softmax stay in fp32. On a
    CPU they are held in fp32: its attention is slow in bf16.
    """
    is_gpu = torch.device(device).type == "cuda"
    return torch.bfloat16 if is_gpu and has_fast_bf16(device) else torch.float32


def use_tensor_cores(device: torch.device | str) -> None:
    """Let a GPU multiply what stays in fp32 as TF32, with the 10 bits that bf16 exceeds by 3."""
    if torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high")


def hold(bf16: bool | None) -> None:
    """Compute in this precision on CPUs from now on; None measures again when it is asked."""
    _held.bf16 = bf16


def bf16_speedup(turns: int = TURNS) -> float:
    """Return how many times as fast a bf16 matrix product is as one in fp32 on this processor.

    The two take turns, and the best of each counts, so that what else the machine does is left out.
    """
    best = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    sides = {dtype: torch.ones(SIDE, SIDE, dtype=dtype) for dtype in best}
    with torch.no_grad():
        for side in sides.values():
            F.linear(side, side)  # the first product prepares
        for _ in range(turns):
            for dtype, side in sides.items():
                begin = time.perf_counter()
                F.linear(side, side)
                best[dtype] = min(best[dtype], time.perf_counter() - begin)
    return best[torch.float32] / best[torch.bfloat16]
