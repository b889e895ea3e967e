"""docs/architecture.md lists every room, and its walks match the code."""

import inspect
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
ROOM = re.compile(r"^\| `([\w/.]+)` \|", re.MULTILINE)
STOP = re.compile(r"^( *)\d+\. `([\w.]+):([\w.]+)`", re.MULTILINE)
LIMIT = re.compile(r"at most (\d+) stops")
INDENT = 3
# The folders whose children are listed as rooms.
HOUSES = ("app", "app/services", "worker", "worker/rlhf")


@dataclass(frozen=True, slots=True)
class Stop:
    """One function of a walk, and the one that calls it."""

    module: str
    name: str
    caller: "Stop | None"

    @property
    def place(self) -> str:
        """The stop as it is written on the page."""
        return f"{self.module}:{self.name}"

    def find(self) -> Any:
        """Return the function, method or class."""
        found: Any = import_module(self.module)
        for part in self.name.split("."):
            found = getattr(found, part)
        return found


def stops_of(text: str) -> list[Stop]:
    """Read the stops of nested numbered lists."""
    path: list[Stop] = []
    stops = []
    for indent, module, name in STOP.findall(text):
        depth = len(indent) // INDENT
        path = path[:depth]
        stops.append(Stop(module, name, path[-1] if path else None))
        path.append(stops[-1])
    return stops


def fault(stop: Stop) -> str | None:
    """Return what is wrong with a stop: it does not exist, or its caller does not name it."""
    try:
        stop.find()
    except (ImportError, AttributeError) as error:
        return f"{stop.place} does not exist: {error}"
    if stop.caller is None:
        return None
    called = stop.name.rpartition(".")[2]
    if re.search(rf"\b{called}\b", inspect.getsource(stop.caller.find())):
        return None
    return f"{stop.caller.place} does not mention {called}"


def rooms(house: str) -> set[str]:
    """Return the packages and modules of a folder."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / house).iterdir()
        if (path / "__init__.py").exists() or (path.suffix == ".py" and path.stem != "__init__")
    }


def _text() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_every_room_is_listed_and_exists() -> None:
    listed = ROOM.findall(_text())
    expected = set().union(*map(rooms, HOUSES))
    assert len(listed) == len(set(listed))
    assert set(listed) == expected


@pytest.mark.parametrize("stop", stops_of(_text()), ids=lambda stop: stop.place)
def test_every_stop_exists_and_is_called_by_the_one_above(stop: Stop) -> None:
    assert fault(stop) is None


def test_walks_are_as_short_as_they_promise() -> None:
    walks = re.split(r"\n(?=[^\n]*:\n\n1\. )", _text())
    limits = [
        (int(limit[1]), len(stops_of(walk))) for walk in walks if (limit := LIMIT.search(walk))
    ]
    assert [limit for limit, _ in limits] == [9, 16, 10]
    assert [count for limit, count in limits if not 0 < count <= limit] == []


def test_the_form_reaches_the_judgment_without_returning_to_a_module() -> None:
    walk = _text().partition("From the labeling form")[2].partition("From there")[0]
    modules = [stop.module for stop in stops_of(walk)]
    visits = [name for at, name in enumerate(modules) if at == 0 or modules[at - 1] != name]
    assert len(visits) == len(set(visits)) > 1


def test_a_planted_stop_is_found() -> None:
    text = "1. `app.domain.splits:split_of`\n   1. `app.domain.splits:content_hash`\n"
    caller, called = stops_of(text)
    assert fault(caller) is None
    assert fault(called) == "app.domain.splits:split_of does not mention content_hash"
    (missing,) = stops_of("1. `app.domain.splits:nothing`")
    assert "does not exist" in str(fault(missing))
