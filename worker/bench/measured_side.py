"""The measured end of a pairing: takes a step on request and reports its figures.

Reports are lines of JSON on the original standard output; any other output goes to standard error.
Needs only torch, since peers import it in their own environments.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

STATUS = Path("/proc/self/status")


class MeasuredSide:
    """A process that is measured step by step: the first is counted, the others are timed."""

    def __init__(self) -> None:
        # Peers print, which must not mix with the reports.
        self._reports = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._synchronize = False
        self._libraries_bytes = 0
        self._counter: FlopCounter | None = None
        self._started = 0.0
        self._figures: dict[str, float] = {}

    def report_ready(self, device: str, versions: Mapping[str, str]) -> None:
        """Report that libraries are loaded; memory is counted from here."""
        self._synchronize = device == "cuda"
        self._libraries_bytes = _memory("VmRSS")
        self._write({"versions": dict(versions)})

    def begin(self) -> None:
        """Wait for a request and start the clock; exit when there are no more requests."""
        order = sys.stdin.readline().strip()
        if not order:
            raise SystemExit(0)
        self._figures = {}
        self._counter = FlopCounter() if order == "count" else None
        if self._counter is not None:
            self._counter.__enter__()  # type: ignore[no-untyped-call]
        self._wait_for_device()
        self._started = time.perf_counter()

    def end(self) -> None:
        """Stop the clock."""
        self._wait_for_device()
        if self._counter is None:
            self._figures["seconds"] = time.perf_counter() - self._started
            return
        self._counter.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._figures["flops"] = float(self._counter.total)

    def report(self, figures: Mapping[str, float]) -> None:
        """Report the step's time or operations, its memory, and further figures."""
        self._figures["memory_bytes"] = float(self._peak_bytes())
        self._write({"figures": self._figures | dict(figures)})

    def _peak_bytes(self) -> int:
        if self._synchronize:
            return int(torch.cuda.max_memory_allocated())
        return _memory("VmHWM") - self._libraries_bytes

    def _wait_for_device(self) -> None:
        if self._synchronize:
            torch.cuda.synchronize()

    def _write(self, message: Mapping[str, object]) -> None:
        print(json.dumps(message), file=self._reports, flush=True)


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of matrix products and attentions as they are executed.

    `FlopCounterMode` does the same, but also tracks the module of each, which fails when a forward
    pass without gradients follows one with them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        count = COUNTS.get(func._overloadpacket)
        if count is None:
            # In inference mode a linear map is not decomposed yet; its product is what counts.
            with self:
                parts = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if parts is NotImplemented else parts
        result = func(*args, **kwargs)
        self.total += count(*args, **kwargs, out_val=result)
        return result


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    shapes = (tensor.shape for tensor in (query, key, value))
    count: int = sdpa_flop_count(*shapes)  # type: ignore[no-untyped-call]
    return count


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    shapes = (tensor.shape for tensor in (gradient, query, key, value))
    count: int = sdpa_backward_flop_count(*shapes)  # type: ignore[no-untyped-call]
    return count


def _linear(x: Any, weight: Any, *_: Any, out_val: Any, **__: Any) -> int:
    return 2 * int(out_val.numel()) * int(x.shape[-1])


COUNTS = flop_registry | {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    COUNTS[torch.ops.mkldnn._linear_pointwise] = _linear


def _memory(name: str) -> int:
    """Return an entry of this process's memory status in bytes; 0 if it is not available."""
    if not STATUS.exists():
        return 0
    line = next((text for text in STATUS.read_text().splitlines() if text.startswith(name)), "")
    return int(line.split()[1]) * 1024 if line else 0
