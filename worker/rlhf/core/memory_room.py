"""How many tokens a forward pass may take: from the memory that is free, and less after an error.

Grouping into micro-batches changes nothing but rounding, so a step that ran out of memory is taken
again with half the tokens. What was done before it stays: the weights are those of a run that had
the smaller budget from there.
"""

import gc
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T")

LEAST_TOKENS = 64
"""Half of this is not tried: then one row is too large, and another model or length is needed."""
SHARE_OF_FREE = 0.6
"""Of the free memory for the activations of a forward pass; allocations leave gaps."""
STEP = 256


class MemoryRoom:
    """The room for forward passes on a device, halved when memory runs out.

    All passes that share a `Roles` share it. `halvings` counts how often memory ran out; `notes`
    says so, for people, and is emptied by who shows them. `is_fixed` says that the passes of
    several processes are one, so that none can repeat its own.
    """

    def __init__(self) -> None:
        self.halvings = 0
        self.notes: list[str] = []
        self.is_fixed = False

    def of(self, most: int) -> int:
        """Return what is left of a budget of tokens, or of rows, at least 1."""
        return max(1, most >> self.halvings)

    def taking(
        self, act: Callable[[], T], *, tokens: int, forget: Iterable[nn.Parameter] = ()
    ) -> T:
        """Return what a function returns, which is called again with less room if memory runs out.

        Args:
            act: reads its budget by `of`, and has no effect but gradients until it returns.
            tokens: its full budget.
            forget: parameters whose gradients an unfinished call leaves behind; they are dropped.

        Raises:
            torch.OutOfMemoryError: if a budget of `LEAST_TOKENS` is still too much, or if the room
                is fixed.
        """
        parameters = list(forget)
        while True:
            try:
                return act()
            except torch.OutOfMemoryError as error:
                if self.is_fixed:
                    raise torch.OutOfMemoryError(self._why_fixed(tokens)) from error
                if self.of(tokens) <= LEAST_TOKENS:
                    raise
            # Not in the handler, where the error keeps the tensors of the failed pass alive.
            self._halve(tokens)
            for parameter in parameters:
                parameter.grad = None

    def _why_fixed(self, tokens: int) -> str:
        return (
            f"memory ran out at {self.of(tokens)} tokens per forward pass, and processes that "
            "divide a model cannot repeat a step one by one; set a smaller token_budget in the plan"
        )

    def _halve(self, tokens: int) -> None:
        before = self.of(tokens)
        self.halvings += 1
        self.notes.append(
            f"Memory ran out at {before} tokens per forward pass. The step is repeated with "
            f"{self.of(tokens)}, and training continues with them: the result is the same but for "
            "rounding, and steps take longer. A smaller token_budget in the plan avoids the error."
        )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def tokens_for(free_bytes: int, bytes_per_token: int, *, least: int, most: int) -> int:
    """Return a budget of tokens that fits into a share of the free memory, in steps of 256."""
    fitting = int(free_bytes * SHARE_OF_FREE) // bytes_per_token // STEP * STEP
    return max(least, min(most, fitting))


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a CUDA device with what PyTorch holds unused, else None."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free) + int(held)
