"""A thread that runs in the background for the duration of a `with` block."""

import threading
from types import TracebackType
from typing import Self


class Background:
    """Runs `_live` in a daemon thread; `_live` returns soon after `_over` is set."""

    def __init__(self, name: str) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ask the thread to end, and wait for it."""
        self._over.set()
        self._thread.join()

    def _live(self) -> None:
        raise NotImplementedError
