"""Reading numbers from a device: every reading waits for all that the device was given to do.

So loops keep what they measure as tensors, and read everything of a step at its end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def read(values: Sequence[Tensor]) -> list[float]:
    """Return tensors of one element as numbers, with one transfer from the device."""
    if not values:
        return []
    numbers: list[float] = torch.stack(
        [value.detach().reshape(()).double() for value in values]
    ).tolist()
    return numbers


def on_host(rows: Sequence[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    """Return numbered vectors, [K] each, in the host's memory, with one transfer."""
    if not rows:
        return []
    lengths = [vector.numel() for _, vector in rows]
    parts = torch.split(torch.cat([vector for _, vector in rows]).cpu(), lengths)
    return [(number, part) for (number, _), part in zip(rows, parts, strict=True)]
