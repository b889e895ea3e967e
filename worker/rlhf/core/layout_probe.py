"""Tests on the loaded model whether sequences may share a row.

Several sequences in one row give what separate rows give only if tokens interact through attention
alone and the model uses the given mask unchanged. Recurrent layers, sliding windows and position
biases based on the row index break that, mostly without an error. So both layouts are compared,
within the model's window and beyond it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import PretrainedConfig

WINDOWS: Final = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size")
"""Fields of configurations that limit how far a token sees."""
PROBE_WINDOW: Final = 4
TOLERANCE_FP32: Final = 1e-4
TOLERANCE_HALF: Final = 3e-2
FAILURES: Final = (ValueError, RuntimeError, TypeError, IndexError, AttributeError, KeyError)
"""What models raise for inputs that they do not support."""

Compare = Callable[[], tuple[Tensor, Tensor]]
"""Returns the same hidden states from shared rows and from separate ones."""


@dataclass(frozen=True, slots=True)
class LayoutProbe:
    """Whether sequences may share rows on a loaded model, and why.

    `window` is the longest sequence for which the result is exact; None if there is no limit.
    """

    is_exact: bool
    window: int | None
    why: str

    def allows_tokens(self, longest: int) -> bool:
        """Return whether sequences of at most this many tokens may share rows."""
        return self.is_exact and (self.window is None or longest <= self.window)

    def to_json(self) -> dict[str, object]:
        """Return the result as plain values, for the model's card."""
        return {"is_exact": self.is_exact, "window": self.window, "why": self.why}


def probe(compare: Compare, config: PretrainedConfig, name: str) -> LayoutProbe:
    """Compare both layouts within the window and beyond it.

    For the second comparison the windows are lowered to a few tokens, which exercises the same
    code. Where that changes nothing, the model has read its window when it was built, and only
    sequences within it may share rows.

    Args:
        compare: computes both layouts of sequences that are longer than the lowered window.
        config: of the text model.
        name: of the shared layout, for the explanation.
    """
    try:
        together, separate = compare()
    except FAILURES as error:
        return LayoutProbe(False, None, f"refused: {error}".splitlines()[0][:200])
    difference = _difference(together, separate)
    if difference is not None:
        return LayoutProbe(False, None, f"{name} and separate rows differ by {difference:.1e}")
    windows = windows_of(config)
    if not windows:
        return LayoutProbe(True, None, f"{name} and separate rows agree")
    window = min(windows.values())
    with _lowered(config, windows):
        together_beyond, separate_beyond = compare()
    if _difference(together_beyond, separate_beyond) is not None:
        return LayoutProbe(True, window, f"exact within the window of {window} only")
    if torch.equal(separate_beyond, separate):
        return LayoutProbe(True, window, f"tested within the window of {window} only")
    return LayoutProbe(True, None, f"{name} and separate rows agree everywhere")


def windows_of(config: PretrainedConfig) -> Mapping[str, int]:
    """Return the windows that a configuration sets."""
    fields = {name: getattr(config, name, None) for name in WINDOWS}
    return {name: value for name, value in fields.items() if isinstance(value, int) and value > 0}


def _difference(together: Tensor, separate: Tensor) -> float | None:
    """Return how far the layouts differ, relative to the largest value; None if they agree."""
    tolerance = TOLERANCE_FP32 if separate.dtype == torch.float32 else TOLERANCE_HALF
    difference = float((together - separate).abs().max() / separate.abs().max())
    return None if difference <= tolerance else difference


@contextmanager
def _lowered(config: PretrainedConfig, windows: Mapping[str, Any]) -> Iterator[None]:
    for name in windows:
        setattr(config, name, PROBE_WINDOW)
    try:
        yield
    finally:
        for name, window in windows.items():
            setattr(config, name, window)
