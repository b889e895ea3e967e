"""Training by several processes: their shares of a batch, and their collective operations.

Every process computes a share of each batch. Losses are divided by the count of the whole batch, so
gradients only have to be summed before the step; every process then takes the same step, and
weights stay equal without being sent. The model is not wrapped in DDP, which does not support
switching roles between forward passes. Each process holds the whole base model, or, in a team that
`shards`, a part of it (see `worker.rlhf.model.sharding`): then every forward pass is collective,
and all processes take equally many. Starting the processes and choosing which of them writes files
and rows is left to the caller.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

T = TypeVar("T")
Held = Literal["device", "host", "nothing"]
"""Where a loaded model's weights are: on the device, in the host's memory, or nowhere yet."""

BUCKET = 2**25
"""Gradient elements reduced at once: 128 MiB in fp32."""


class FirstFailed(RuntimeError):
    """The first process failed in work it did for all; its own error says why."""


class Team:
    """The processes of a run; without an accelerator there is only this one.

    `shards` says that they divide the base model among them, and is set before one is loaded.
    """

    def __init__(
        self, accelerator: Accelerator | None = None, *, leads: bool | None = None
    ) -> None:
        self._accelerator = accelerator
        self.size = 1 if accelerator is None else accelerator.num_processes
        self.shards = False
        self._is_in_once = False
        own = 0 if accelerator is None else accelerator.process_index
        self._first = self._find_first(own, leads=leads)
        self.rank = (own - self._first) % self.size

    @classmethod
    def launched(cls, *, cpu: bool = False, leads: bool | None = None) -> "Team":
        """Join the processes started by `accelerate launch` or torchrun, one device each.

        `leads` says whether this process is the first; None: the launcher's rank does.
        """
        return cls(Accelerator(cpu=cpu), leads=leads) if is_launched() else cls()

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

    def taken(self, share: Sequence[int], costs: Sequence[int]) -> list[int]:
        """Return the items to compute for a share: in a team that shards, at least one.

        What a process without a share computes, to take part in the passes of the others, is the
        cheapest item; the caller drops its result.
        """
        if share or not self.is_sharding or not costs:
            return list(share)
        return [costs.index(min(costs))]

    def gather(self, items: Sequence[T]) -> list[T]:
        """Return the items of all processes in the order of ranks; they are sent pickled."""
        if self.size == 1:
            return list(items)
        by_rank: list[list[T]] = gather_object([list(items)])
        return [item for own in self._from_first(by_rank) for item in own]

    def sum(self, value: float) -> float:
        """Return the sum of a number over the processes."""
        return float(sum(self.gather([value])))

    def is_any(self, value: bool) -> bool:
        """Return whether it is true in any process."""
        return any(self.gather([value]))

    def in_step(self, passes: Sequence[T], idle: Callable[[], T]) -> list[tuple[T, float]]:
        """Return the passes of this process with weight 1, and idle ones with weight 0.

        In a team that shards, every process takes part in every pass: those with fewer than the
        others take idle passes, whose loss is multiplied by 0 and whose results are dropped.
        Elsewhere there are none.
        """
        weighted = [(one, 1.0) for one in passes]
        if not self.is_sharding:
            return weighted
        most = max(self.gather([len(passes)]))
        return weighted + [(idle(), 0.0) for _ in range(most - len(passes))]

    @property
    def is_sharding(self) -> bool:
        """Whether several processes divide the base model among them."""
        return self.shards and self.size > 1

    @property
    def held(self) -> Held:
        """Where this process loads a base model's weights; of one to divide, only the first does.

        It does so into the memory of its host, since the device may be too small.
        """
        if not self.is_sharding:
            return "device"
        return "host" if self.is_first else "nothing"

    def send(self, tensor: Tensor) -> None:
        """Fill a tensor with that of the first process; all must call it."""
        torch.distributed.broadcast(tensor, src=self._first)

    def mesh(self) -> DeviceMesh:
        """Return the processes as one row, among which a model is divided."""
        device = self.device or torch.device("cpu")
        return init_device_mesh(device.type, (self.size,))

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
        broadcast_object_list(outcome, from_process=self._first)
        if failure is not None:
            raise failure
        value, is_done = outcome
        if not is_done:
            raise FirstFailed("the first process failed in work it did for all")
        result: T = value
        return result

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all processes; a missing gradient counts as zero.

        Those of divided parameters are summed in the backward pass already.
        """
        if self._accelerator is None or self.size == 1:
            return
        for bucket in _buckets(p for p in parameters if not isinstance(p, DTensor)):
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

    def _find_first(self, own: int, *, leads: bool | None) -> int:
        """Return the launcher's rank of the first process, which need not be 0 on several hosts."""
        if leads is None or self.size == 1:
            return 0
        leading: list[int] = gather_object([own] if leads else [])
        if len(leading) != 1:
            raise RuntimeError(f"one process must lead the run, not {len(leading)}: {leading}")
        return leading[0]

    def _from_first(self, by_rank: Sequence[T]) -> list[T]:
        """Return what the launcher's ranks have, in the order of the team's."""
        return [*by_rank[self._first :], *by_rank[: self._first]]


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
