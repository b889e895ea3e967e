"""Data-parallel training: the processes of a run and their collective operations.

Every process holds the whole model and computes a share of each batch. Losses are divided by the
count of the whole batch, so gradients only have to be summed before the step; every process then
takes the same step, and weights stay equal without being sent. The model is not wrapped in DDP,
which does not support switching roles between forward passes. Starting the processes and choosing
which of them writes files and rows is left to the caller.
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
"""Gradient elements reduced at once: 128 MiB in fp32."""


class FirstFailed(RuntimeError):
    """The first process failed in work it did for all; its own error says why."""


class Team:
    """The processes of a run; without an accelerator there is only this one."""

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self._accelerator = accelerator
        self.size = 1 if accelerator is None else accelerator.num_processes
        self.rank = 0 if accelerator is None else accelerator.process_index
        self._is_in_once = False

    @classmethod
    def launched(cls, *, cpu: bool = False) -> "Team":
        """Join the processes started by `accelerate launch` or torchrun, one device each."""
        return cls(Accelerator(cpu=cpu)) if is_launched() else cls()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and rows."""
        return self.rank == 0

    @property
    def device(self) -> torch.device | None:
        """The device of this process; None for a single process, which may choose."""
        return None if self._accelerator is None else self._accelerator.device

    def share(self, costs: Sequence[int]) -> list[int]:
        """Return the items this process computes, in order; shares have similar total costs."""
        if self.size == 1:
            return list(range(len(costs)))
        costliest_first = sorted(range(len(costs)), key=lambda i: (-costs[i], i))
        # Dealt forwards and backwards, or the first process would get the costliest of each round.
        forward, backward = self.rank, 2 * self.size - 1 - self.rank
        stride = 2 * self.size
        return sorted([*costliest_first[forward::stride], *costliest_first[backward::stride]])

    def gather(self, items: Sequence[T]) -> list[T]:
        """Return the items of all processes in the order of ranks; they are sent pickled."""
        if self.size == 1:
            return list(items)
        gathered: list[T] = gather_object(list(items))
        return gathered

    def sum(self, value: float) -> float:
        """Return the sum of a number over the processes."""
        return float(sum(self.gather([value])))

    def once(self, act: Callable[[], T]) -> T:
        """Run a function in the first process and return its result in all, pickled.

        The function may call `once` again, but no other collective operation.

        Raises:
            FirstFailed: in the other processes, where it raised in the first.
        """
        if self.size == 1 or self._is_in_once:
            return act()
        outcome: list[Any] = [None, False]
        failure: BaseException | None = None
        if self.is_first:
            self._is_in_once = True
            try:
                outcome = [act(), True]
            except BaseException as error:  # noqa: BLE001 - raised below, once the others know
                failure = error
            finally:
                self._is_in_once = False
        broadcast_object_list(outcome)
        if failure is not None:
            raise failure
        value, is_done = outcome
        if not is_done:
            raise FirstFailed("the first process failed in work it did for all")
        result: T = value
        return result

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all processes; a missing gradient counts as zero."""
        if self._accelerator is None or self.size == 1:
            return
        for bucket in _buckets(parameters):
            flat = torch.cat([_gradient(parameter).flatten() for parameter in bucket])
            total: Tensor = self._accelerator.reduce(flat, reduction="sum")
            parts = torch.split(total, [parameter.numel() for parameter in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter)

    def leave(self) -> None:
        """Close the connections; a process that continues does so alone and keeps its rank."""
        if self.size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        self.size = 1


def is_launched() -> bool:
    """Return whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield consecutive parameters of one dtype and device, up to a total size."""
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
