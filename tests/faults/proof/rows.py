"""What a row of the proof is: a target, a way to measure it, and what came of it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from app.errors import Invalid
from tests.faults.proof.own_servers import OwnPostgres, OwnRedis

ROOT = Path(__file__).resolve().parents[3]


class NotMeasured(Exception):
    """What a row needs is not on this machine; the message says what."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done: the short form times `factor`, or what the targets ask for."""

    seed: int = 1
    factor: float = 1.0
    is_long: bool = False

    def count(self, short: int, long: int) -> int:
        """Return how many of something there are at this scale, at least one.

        Raises:
            Invalid: the factor is not positive.
        """
        if self.factor <= 0:
            raise Invalid(f"the scale must be above 0, not {self.factor:g}")
        return long if self.is_long else max(1, round(short * self.factor))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured, at which scale, and by how much it misses its target (empty: it holds)."""

    measured: str
    scale: str
    missed: str = ""
    figures: Mapping[str, float | str] = field(default_factory=dict)


class Place:
    """Where rows are measured: a folder, and servers of their own that are started once."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.folder = folder
        self.scale = scale
        self._opened = ExitStack()

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_error: object) -> None:
        self._opened.close()

    def room(self, name: str) -> Path:
        """Return an empty folder for a row."""
        made = self.folder / name
        made.mkdir(parents=True, exist_ok=True)
        return made

    @cached_property
    def postgres(self) -> OwnPostgres:
        """The database server that no row stops."""
        return self._opened.enter_context(own_postgres())

    @cached_property
    def redis(self) -> OwnRedis:
        """The broker that no row stops."""
        return self._opened.enter_context(own_redis(self.room("redis")))


@dataclass(frozen=True, slots=True)
class Row:
    """A figure to reach.

    Attributes:
        name: how the row is asked for.
        what: what is measured.
        target: the figure, in words.
        measure: measures it.
        is_idle: whether it mostly waits, so that others can be measured meanwhile.
    """

    name: str
    what: str
    target: str
    measure: Callable[[Place], Outcome]
    is_idle: bool = False


def own_postgres(address: str = "127.0.0.1", clients: str = "") -> OwnPostgres:
    """Make a PostgreSQL server that a row may stop; enter it to start.

    Raises:
        NotMeasured: PostgreSQL is not installed.
    """
    try:
        return OwnPostgres(address, clients)
    except FileNotFoundError as error:
        raise NotMeasured(str(error)) from error


def own_redis(folder: Path, address: str = "127.0.0.1") -> OwnRedis:
    """Make a Redis server that a row may stop; enter it to start.

    Raises:
        NotMeasured: Redis is not installed.
    """
    try:
        return OwnRedis(folder, address)
    except FileNotFoundError as error:
        raise NotMeasured(str(error)) from error


def counted(number: int, one: str, several: str = "") -> str:
    """Say how many of something there are; `several` defaults to the plural with s."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def beyond_none(number: int, one: str, several: str = "") -> str:
    """Say how many there are of what must not be; empty if there are none."""
    return counted(number, one, several) if number else ""
