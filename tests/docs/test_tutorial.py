"""The tutorial runs from top to bottom: its blocks in order, and what they print as it shows."""

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.settings import DATABASE_FILE, Settings
from tests.client.conftest import run_job
from tests.conftest import quick_app
from tests.live import serve

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVER = "attune up\n"
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def installation(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a folder with a command `attune`, and an empty embedded database."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "attune"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m app.cli.main "$@"\n')
    command.chmod(0o700)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".attune").mkdir(mode=0o700)
    (tmp_path / ".attune" / DATABASE_FILE).write_bytes(sqlite_template.read_bytes())
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'client'}")
    monkeypatch.setenv("ATTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """Serve the installation with a worker, as `attune up` does; yield the address."""
    settings = Settings(data_dir=folder / ".attune")
    database = Database(settings.database)
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(0.05):
            run_job(database, settings.data_dir)

    worker = threading.Thread(target=work, daemon=True)
    with serve(quick_app(settings, database)) as address:
        worker.start()
        yield address
        is_over.set()
        worker.join(10)
    database.dispose()


def run_shell(block: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a block, keep the variables that it exported, and return what it printed."""
    ran = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", f"{block}\nenv -0 > exported"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{block}\n{ran.stderr}"
    for line in Path("exported").read_text().split("\0"):
        name, _, value = line.partition("=")
        if name in {"ATTUNE_URL", "ATTUNE_TOKEN"}:
            monkeypatch.setenv(name, value)
    return ran.stdout


def run_python(block: str, names: dict[str, object]) -> str:
    """Run a block with the names of those before it, and return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, PAGE.name, "exec"), names)
    return printed.getvalue()


def close(names: dict[str, Any]) -> None:
    """Close the connections that blocks have left open, as the end of a program does."""
    if "api" in names:
        names["api"].close()
    if "desk" in names:
        names["desk"]._connection.close()


def shows(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; … stands for any text within a line."""
    pattern = ".*".join(re.escape(part) for part in shown.split("…"))
    return re.fullmatch(pattern, printed) is not None


def test_an_ellipsis_hides_no_line() -> None:
    assert shows('{"password": "…"}\n', '{"password": "secret"}\n')
    assert not shows("… comparisons\n", "14 comparisons\n3 comparisons\n")
    assert not shows("14 comparisons\n", "15 comparisons\n")


def test_the_tutorial_runs_and_prints_what_it_shows(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert {language for language, _ in blocks} == {"console", "sh", "python", "text"}
    names: dict[str, object] = {}
    printed, ran = "", 0
    with contextlib.ExitStack() as server:
        server.callback(close, names)
        address = ""
        for language, block in blocks:
            if language == "text":
                assert shows(block, printed), f"the page shows:\n{block}\nprinted:\n{printed}"
                printed = ""
                continue
            assert not printed, f"the page does not show what is printed:\n{printed}"
            if block == SERVER:
                address = server.enter_context(running(installation))
            elif language == "sh":
                printed = run_shell(block.replace(ADDRESS, address or ADDRESS), monkeypatch)
                ran += 1
            elif language == "python":
                printed = run_python(block, names)
                ran += 1
    assert address
    assert ran == 10
