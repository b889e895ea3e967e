"""Seeded orders of a data set: a function of seed and epoch alone, so there is nothing to save."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SEED_STRIDE = 1_000_003
"""Distance between the generator seeds of two run seeds; epochs are numbered below it."""


def seed_of(seed: int, number: int) -> int:
    """Return the generator seed of a numbered epoch or step."""
    return seed * SEED_STRIDE + number


def permutation(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order of `count` items in an epoch counted from 0, [count]."""
    generator = torch.Generator().manual_seed(seed_of(seed, epoch))
    return torch.randperm(count, generator=generator)


def across_epochs(count: int, seed: int, start: int, stop: int) -> Iterator[int]:
    """Yield the items at positions `start` to `stop` of all epochs laid end to end."""
    order: list[int] = []
    ordered_epoch = None
    for position in range(start, stop):
        epoch, index = divmod(position, count)
        if epoch != ordered_epoch:
            order, ordered_epoch = permutation(count, seed, epoch).tolist(), epoch
        yield order[index]


@dataclass(frozen=True, slots=True)
class EpochBatches:
    """Batches in which each item comes once per epoch; the last of an epoch may be smaller."""

    count: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.count // self.batch_size)

    def steps(self, epochs: int, max_steps: int | None = None) -> int:
        """Return the number of batches in `epochs` epochs, at most `max_steps`."""
        planned = self.steps_per_epoch * epochs
        return planned if max_steps is None else min(planned, max_steps)

    def batch(self, step: int) -> list[int]:
        """Return the items of a step counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order: list[int] = permutation(self.count, self.seed, epoch).tolist()
        start = position * self.batch_size
        return order[start : start + self.batch_size]
