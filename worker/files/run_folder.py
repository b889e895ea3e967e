"""The folder of a run without a database: its settings, its states, and the finished model.

```
OUT/run.json    the settings; a later run resumes only with the same settings
OUT/work/       training states and curves, until the model is finished
OUT/model/      the finished model, put in place atomically
```

Two runs never share a folder. Orders come from signals; metrics go to the watcher.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from app.domain.plan import RoundPlan
from app.errors import Conflict, Invalid
from worker import artifacts
from worker.orders import Order, Orders
from worker.rlhf.core.parallel import Team
from worker.rlhf.core.step_report import Sample
from worker.training import model_card
from worker.training.model_card import ModelCard
from worker.training.model_folders import MODEL, RUN

WORK, LOCK = "work", ".lock"
LEASE: Final = 1  # states are named by lease; here there is only one

T = TypeVar("T")


class Watcher(Protocol):
    """Shows a run to people or programs."""

    def say(self, text: str) -> None:
        """Show a sentence."""

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of a step."""

    def progress(self, done: int, total: int, note: str) -> None:
        """Show the progress of the run."""


class RunFolder:
    """One run in its folder; a `training_loop.RunPlace`.

    Attributes:
        root: the folder.
        watcher: shows the run.
        orders: given to the run.
        team: the processes that share the run; None if there is only one.
    """

    def __init__(
        self,
        root: Path,
        watcher: Watcher,
        orders: Orders | None = None,
        team: Team | None = None,
    ) -> None:
        self.root = root
        self.watcher = watcher
        self.orders = orders or Orders()
        self.team = team

    @property
    def title(self) -> str:
        """The name of the run in messages."""
        return f"the run in {self.root}"

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.team is None or self.team.is_first

    @property
    def workdir(self) -> Path:
        """Where states and curves are kept during the run."""
        folder = self.root / WORK
        if not self.is_first and self.team is not None:
            folder = folder / f"process-{self.team.rank}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def model(self) -> Path:
        """Where the finished model is."""
        return self.root / MODEL

    @property
    def is_done(self) -> bool:
        """Whether the model is finished."""
        return artifacts.verify(self.model)

    @contextmanager
    def held(self, identity: Mapping[str, Any], *, restart: bool = False) -> Iterator[None]:
        """Lock the folder; resume a run in it only if its settings are the same.

        Raises:
            Conflict: another process is writing there, or the folder holds another run.
            Invalid: the folder holds something else.
        """
        if not self.is_first:
            self._wait_for_the_first()
            yield
            return
        self._refuse_foreign()
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCK).open("w") as lock:
            artifacts.lock(lock, self.root)
            if restart:
                self._clear()
            self._claim(identity)
            self._wait_for_the_first()
            yield

    def _wait_for_the_first(self) -> None:
        """Return once the first process has claimed the folder for all."""
        if self.team is not None:
            self.team.once(lambda: None)

    def say(self, text: str) -> None:
        """Show a sentence."""
        if self.is_first:
            self.watcher.say(text)

    def once(self, act: Callable[[], T]) -> T:
        """Do something once, however many processes share the run."""
        return act() if self.team is None else self.team.once(act)

    def leave_team(self) -> None:
        """End the connections to the other processes."""
        if self.team is not None:
            self.team.leave()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Pass on the metrics of a step."""
        if self.is_first:
            self.watcher.step(step, values)

    def samples(self, step: int, samples: tuple[Sample, ...]) -> None:
        """Do nothing: TensorBoard has the samples."""

    def report(self, done: int, total: int, note: str = "") -> None:
        """Pass on the progress of the run."""
        if self.is_first:
            self.watcher.progress(done, total, note)

    def should_stop(self) -> Order | None:
        """Return the order in force; all processes stop at the same step."""
        if self.team is None:
            return self.orders.order
        order: Order | None = self.team.once(lambda: self.orders.order)
        return order

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def save_state(self, step: int, write: artifacts.Write) -> Path:
        """Save a training state atomically; keep the newest two."""
        if not self.is_first:
            return self.workdir
        return artifacts.save_state(self.workdir, step, LEASE, write)

    def newest_state(self) -> Path | None:
        """Return the newest training state that verifies."""
        return artifacts.newest_state(self.root / WORK)

    def publish(self, card: ModelCard, write: artifacts.Write) -> None:
        """Put the finished model in place atomically, with its card and curves."""
        aside = self.workdir / "checkpoint"
        model_card.fill(self, aside, card, write)
        artifacts.save(self.model, lambda to: shutil.copytree(aside, to, dirs_exist_ok=True))
        shutil.rmtree(self.root / WORK, ignore_errors=True)

    def _refuse_foreign(self) -> None:
        if self.root.is_file():
            raise Invalid(f"{self.root} is a file; a run needs a folder")
        if not self.root.is_dir() or (self.root / RUN).exists():
            return
        foreign = sorted(path.name for path in self.root.iterdir() if path.name != LOCK)
        if foreign:
            raise Invalid(f"{self.root} holds {foreign[0]}; a run needs a new or empty folder")

    def _claim(self, identity: Mapping[str, Any]) -> None:
        path = self.root / RUN
        wanted = json.loads(json.dumps(identity, default=str))
        if not path.exists() or not (self.is_done or self.newest_state()):
            artifacts.replace(path, json.dumps(wanted, indent=1) + "\n")
            return
        known = _as_of_today(json.loads(path.read_text(encoding="utf-8")))
        different = next(differences(known, wanted), None)
        if different is not None:
            name, old, new = different
            raise Conflict(
                f"{self.root} holds a run with {name} {old!r}, not {new!r}; "
                "choose another folder, or --restart to start over"
            )

    def _clear(self) -> None:
        for name in (WORK, MODEL):
            shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / RUN).unlink(missing_ok=True)


def _as_of_today(identity: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run with those that its version of the plan did not have yet."""
    with suppress(Invalid, KeyError):  # of no plan, or of one that is no longer valid
        plan = RoundPlan.from_json(identity["plan"]).to_json()
        return identity | {"plan": json.loads(json.dumps(plan, default=str))}
    return identity


def differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield where two plain values differ, by a dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{name}.{key}" if name else key
            yield from differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield name, old, new
