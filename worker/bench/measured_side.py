"""What runs in a measured process: it says what it did, step by step, when it is asked to.

Lines of JSON on the original standard output; anything else that is printed goes to standard error.
Needs only torch: peers import it in environments of their own.
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
    """The measured end of a pairing. The first step is counted, not timed; the others are timed."""

    def __init__(self) -> None:
        # Peers print; the answers must not be mixed up with that.
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._synchronise = False
        self._libraries_bytes = 0
        self._counter: Counter | None = None
        self._started = 0.0
        self._figures: dict[str, float] = {}

    def is_ready(self, device: str, versions: Mapping[str, str]) -> None:
        """Say that libraries are loaded: memory counts from here."""
        self._synchronise = device == "cuda"
        self._libraries_bytes = _memory("VmRSS")
        self._say({"versions": dict(versions)})

    def begin(self) -> None:
        """Wait to be asked for a step and start the clock; end the process when there is none."""
        order = sys.stdin.readline().strip()
        if not order:
            raise SystemExit(0)
        self._figures = {}
        self._counter = Counter() if order == "count" else None
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

    def tell(self, figures: Mapping[str, float]) -> None:
        """Answer with the step's time or operations, its memory, and what it found."""
        self._figures["memory_bytes"] = float(self._peak_bytes())
        self._say({"figures": self._figures | dict(figures)})

    def _peak_bytes(self) -> int:
        if self._synchronise:
            return int(torch.cuda.max_memory_allocated())
        return _memory("VmHWM") - self._libraries_bytes

    def _wait_for_device(self) -> None:
        if self._synchronise:
            torch.cuda.synchronize()

    def _say(self, answer: Mapping[str, object]) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of matrix products and attentions as they are executed.

    `FlopCounterMode` does the same, but also asks which module each belongs to, and that fails
    where a forward without gradients follows one with them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        count = COUNTS.get(func._overloadpacket)
        if count is None:
            # A linear map reaches us whole in inference mode; its product is what counts.
            with self:
                parts = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if parts is NotImplemented else parts
        found = func(*args, **kwargs)
        self.total += count(*args, **kwargs, out_val=found)
        return found


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    shapes = (each.shape for each in (query, key, value))
    found: int = sdpa_flop_count(*shapes)  # type: ignore[no-untyped-call]
    return found


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    shapes = (each.shape for each in (gradient, query, key, value))
    found: int = sdpa_backward_flop_count(*shapes)  # type: ignore[no-untyped-call]
    return found


COUNTS = flop_registry | {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def _memory(name: str) -> int:
    """Return a figure of this process's memory in bytes; 0 where the system does not tell."""
    if not STATUS.exists():
        return 0
    line = next((text for text in STATUS.read_text().splitlines() if text.startswith(name)), "")
    return int(line.split()[1]) * 1024 if line else 0
