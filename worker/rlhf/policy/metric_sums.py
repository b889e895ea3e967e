"""Sums of metrics over the micro-batches and updates of a step, with their counts."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from worker.rlhf.core import device_reads


class MetricSums:
    """Sums of metrics, with the number of tokens or updates to divide each by.

    Values that lie on a device are read together when the means are requested, because reading
    one waits for all that the device has been given to do.
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._unread: list[tuple[str, Tensor]] = []

    def add(self, sums: Mapping[str, Tensor | float], *, count: int) -> None:
        """Add sums over `count` tokens or updates; tensors have one element."""
        for name, value in sums.items():
            self._counts[name] = self._counts.get(name, 0) + count
            if isinstance(value, Tensor):
                self._unread.append((name, value.detach()))
            else:
                self._add(name, value)

    @classmethod
    def total(cls, parts: Sequence["MetricSums"]) -> "MetricSums":
        """Return the sums of several parts as one; those of other processes must be `settled`."""
        total = cls()
        for part in parts:
            total.merge(part)
        return total

    def merge(self, part: "MetricSums") -> None:
        """Add the sums and counts of a part."""
        for name, value in part._sums.items():
            self._add(name, value)
        self._unread += part._unread
        for name, count in part._counts.items():
            self._counts[name] = self._counts.get(name, 0) + count

    def settled(self) -> "MetricSums":
        """Return the sums with every value read from its device, all at once."""
        values = device_reads.read([tensor for _, tensor in self._unread])
        for (name, _), value in zip(self._unread, values, strict=True):
            self._add(name, value)
        self._unread = []
        return self

    def means(self) -> dict[str, float]:
        """Return each sum divided by its count."""
        return {name: value / self._counts[name] for name, value in self.settled()._sums.items()}

    def _add(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value
