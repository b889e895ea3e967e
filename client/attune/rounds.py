"""The rounds of a project: the choices of a launch, launching, following and deciding."""

import time
from collections.abc import Iterator
from typing import Any

from attune.connection import Connection
from attune.errors import WaitedTooLong
from attune.progress import meter
from attune.types import Round, RoundProgress


class Rounds:
    """The rounds of one project."""

    def __init__(self, connection: Connection, project_path: str) -> None:
        self._connection = connection
        self._path = f"{project_path}/rounds"

    def __repr__(self) -> str:
        return f"<Rounds of {self._path.split('/')[2]} at {self._connection.url}>"

    def __iter__(self) -> Iterator[Round]:
        yield from (Round.from_json(each) for each in self._connection.get(self._path))

    def get(self, number: int) -> RoundProgress:
        """Return a round with its jobs, checks, models and evaluation."""
        return RoundProgress.from_json(self._connection.get(f"{self._path}/{number}"))

    def choices(self) -> list[dict[str, Any]]:
        """Return the choices of a launch (quick, balanced, thorough) with what each would take."""
        choices: list[dict[str, Any]] = self._connection.get(f"{self._path}/choices")
        return choices

    def preview(self, choice: str = "balanced", **plan: Any) -> dict[str, Any]:
        """Return the steps, judgments and estimate of a plan without launching it."""
        body = {"choice": choice, **plan}
        previewed: dict[str, Any] = self._connection.post(
            f"{self._path}/preview", body, repeat=True
        )
        return previewed

    def launch(self, choice: str = "balanced", **plan: Any) -> RoundProgress:
        """Start the next round; `plan` has the settings that differ from the choice.

        It is sent once: if the server does not answer, look whether there is a new round.
        """
        body = {"choice": choice, **plan}
        return RoundProgress.from_json(self._connection.post(self._path, body))

    def follow(
        self,
        number: int,
        *,
        every_s: float = 2.0,
        timeout_s: float | None = None,
        through_gates: bool = False,
        progress: bool | None = None,
    ) -> Iterator[RoundProgress]:
        """Yield a round whenever it has changed, until it is over.

        It also ends when the round waits at a check for somebody's decision, in the state "gated",
        unless `through_gates`.

        Args:
            number: of the round.
            every_s: seconds between two looks.
            timeout_s: seconds to wait at most; without it, as long as people label.
            through_gates: go on while a decision is waited for.
            progress: whether to show a line of progress; by default to people only.

        Raises:
            WaitedTooLong: the time limit passed.
        """
        start, before = time.monotonic(), None
        with meter(progress) as shown:
            while True:
                now = self.get(number)
                shown.show(*_summary(now))
                if now != before:
                    yield now
                before = now
                if now.is_over or (now.state == "gated" and not through_gates):
                    return
                if timeout_s is not None and time.monotonic() - start + every_s > timeout_s:
                    raise WaitedTooLong(
                        f"round {number} is {now.state} after {timeout_s:g} s; it goes on"
                    )
                time.sleep(every_s)

    def decide(self, number: int, *, promote: bool, reason: str = "") -> RoundProgress:
        """Promote the new policy, or keep the previous one."""
        body = {"promote": promote, "reason": reason}
        return RoundProgress.from_json(self._connection.post(f"{self._path}/{number}/decide", body))


def _summary(round_: RoundProgress) -> tuple[str, float, float | None]:
    what = f"Round {round_.number}: {round_.state}"
    running = next((job for job in round_.jobs if job["state"] == "running"), None)
    if running is not None:
        return f"{what}, {running['kind']}", running["progress_done"], running["progress_total"]
    labeling = round_.evaluation_labeling if round_.evaluation else round_.labeling
    return f"{what}, judgments", labeling["done"], labeling["wanted"]
