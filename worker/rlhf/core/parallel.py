"""The processes that share one training run, and all that they must agree on.

Every process holds the whole model and computes a share of each batch. Losses are divided by the
count of the whole batch, so that gradients only have to be added up before the step; every process
then takes the same step, and weights stay equal without being sent. Nothing is wrapped: roles that
switch between a forward and the next would confuse a wrapper. Who starts the processes, and which
of them writes files and rows, is not decided here.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

T = TypeVar("T")

BUCKET = 2**25
"""Numbers that are added up at once: 128 MiB in fp32."""


class FirstFailed(RuntimeError):
    """The first process failed at what it did for all; it says itself how."""


class Team:
    """The processes of a run; without an accelerator a process is alone."""

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self._accelerator = accelerator
        self.size = 1 if accelerator is None else accelerator.num_processes
        self.rank = 0 if accelerator is None else accelerator.process_index
        self._is_in_once = False

    @classmethod
    def launched(cls, *, cpu: bool = False) -> "Team":
        """Join those that `accelerate launch` or torchrun started, on a device each."""
        return cls(Accelerator(cpu=cpu)) if is_launched() else cls()

    @property
    def is_first(self) -> bool:
        """Whether this process writes what the run has to say."""
        return self.rank == 0

    @property
    def device(self) -> torch.device | None:
        """This process's own device; None where it is alone and may choose."""
        return None if self._accelerator is None else self._accelerator.device

    def share(self, costs: Sequence[int]) -> list[int]:
        """Return which of some items are this process's, in order; shares cost about the same."""
        if self.size == 1:
            return list(range(len(costs)))
        dearest_first = sorted(range(len(costs)), key=lambda i: (-costs[i], i))
        # Dealt to and fro, or the first would have the dearest of every turn.
        there, back = self.rank, 2 * self.size - 1 - self.rank
        turn = 2 * self.size
        return sorted([*dearest_first[there::turn], *dearest_first[back::turn]])

    def gather(self, mine: Sequence[T]) -> list[T]:
        """Return the items of all processes, the first's first; they travel pickled."""
        if self.size == 1:
            return list(mine)
        found: list[T] = gather_object(list(mine))
        return found

    def sum(self, value: float) -> float:
        """Return the sum of the processes' numbers."""
        return float(sum(self.gather([value])))

    def once(self, act: Callable[[], T]) -> T:
        """Let the first process do something, and return to all what came of it, pickled.

        What it does may do further things once; it must not ask the others for anything.

        Raises:
            FirstFailed: in the other processes, where it raised in the first.
        """
        if self.size == 1 or self._is_in_once:
            return act()
        box: list[Any] = [None, False]
        failure: BaseException | None = None
        if self.is_first:
            self._is_in_once = True
            try:
                box = [act(), True]
            except BaseException as error:  # noqa: BLE001 - raised below, once the others know
                failure = error
            finally:
                self._is_in_once = False
        broadcast_object_list(box)
        if failure is not None:
            raise failure
        value, is_done = box
        if not is_done:
            raise FirstFailed("the first process failed at what it did for all")
        found: T = value
        return found

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes; none counts as zero."""
        if self._accelerator is None or self.size == 1:
            return
        for bucket in _buckets(parameters):
            flat = torch.cat([_gradient(parameter).flatten() for parameter in bucket])
            total: Tensor = self._accelerator.reduce(flat, reduction="sum")
            parts = torch.split(total, [parameter.numel() for parameter in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter)

    def leave(self) -> None:
        """End the connections; whoever goes on does so alone, and remembers its rank."""
        if self.size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        self.size = 1


def is_launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield runs of parameters of one type and device, of a bounded size."""
    bucket: list[nn.Parameter] = []
    count = 0
    for parameter in parameters:
        is_alike = not bucket or (parameter.dtype, parameter.device) == (
            bucket[0].dtype,
            bucket[0].device,
        )
        if bucket and (not is_alike or count + parameter.numel() > BUCKET):
            yield bucket
            bucket, count = [], 0
        bucket.append(parameter)
        count += parameter.numel()
    if bucket:
        yield bucket


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
