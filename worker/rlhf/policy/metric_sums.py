"""Sums of metrics over the micro-batches and updates of a step, with their counts."""

from collections.abc import Mapping, Sequence

from torch import Tensor


class MetricSums:
    """Sums of metrics, with the number of tokens or updates to divide each by."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, sums: Mapping[str, Tensor | float], *, count: int) -> None:
        """Add sums over `count` tokens or updates."""
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._counts[name] = self._counts.get(name, 0) + count

    @classmethod
    def total(cls, parts: Sequence["MetricSums"]) -> "MetricSums":
        """Return the sums of several processes as one."""
        total = cls()
        for part in parts:
            for name, value in part._sums.items():
                total.add({name: value}, count=part._counts[name])
        return total

    def means(self) -> dict[str, float]:
        """Return each sum divided by its count."""
        return {name: value / self._counts[name] for name, value in self._sums.items()}
