"""The libraries of a command are imported without going through their objects again and again."""

import gc
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.commands import watching

MANY = "kept = [[] for _ in range(200_000)]\nif fails:\n    raise ImportError('no')\n"


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """List the collections that happen; `many_objects` can be imported."""
    found: list[dict[str, Any]] = []

    def count(phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            found.append(info)

    monkeypatch.setattr(gc, "callbacks", [*gc.callbacks, count])
    monkeypatch.syspath_prepend(tmp_path)
    for name, fails in (("many_objects", False), ("many_and_no_more", True)):
        (tmp_path / f"{name}.py").write_text(f"fails = {fails}\n{MANY}")
        monkeypatch.delitem(sys.modules, name, raising=False)
    return found


def test_nothing_is_collected_while_libraries_are_imported(
    collections: list[dict[str, Any]],
) -> None:
    before = gc.get_freeze_count()
    try:
        module = watching.load("many_objects")
        assert not collections
        assert gc.isenabled()
        assert gc.get_freeze_count() - before >= len(module.kept)
    finally:
        gc.unfreeze()


def test_collection_goes_on_after_an_import_that_fails(collections: list[dict[str, Any]]) -> None:
    with pytest.raises(ImportError, match="no"):
        watching.load("many_and_no_more")
    assert gc.isenabled()
