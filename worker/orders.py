"""Orders that users and supervisors give to a run in progress."""

import threading
from collections.abc import Mapping
from typing import Final, Literal

Order = Literal["cancel", "stop_here", "preempt"]


class Interrupted(Exception):
    """A run stopped early because it was asked to."""


class StoppedHere(Exception):
    """A run that waits was asked to stop, and to keep what it has learned so far."""


class Orders:
    """The orders given to a run; the strongest takes precedence."""

    _STRENGTH: Final[Mapping[Order, int]] = {"stop_here": 1, "preempt": 2, "cancel": 3}

    def __init__(self) -> None:
        self._order: Order | None = None
        self.changed = threading.Event()

    @property
    def order(self) -> Order | None:
        """The order in force."""
        return self._order

    def give(self, order: Order) -> None:
        """Give an order; one weaker than the order in force changes nothing."""
        if self._order is None or self._STRENGTH[order] > self._STRENGTH[self._order]:
            self._order = order
            self.changed.set()
