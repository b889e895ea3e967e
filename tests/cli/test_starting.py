"""Processes that are killed, start at once, or find their files open to others."""

import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.cli import serve
from app.cli.processes import Child
from app.cli.serve import listen, ready_database
from app.db import Database, schema
from app.errors import Invalid
from app.settings import Settings
from tests.cli.test_up import processes_with_parents

_PARENT = """
import os, subprocess, sys, time
command = [sys.executable, "-c", sys.argv[1], str(os.getpid())]
print(subprocess.Popen(command, pass_fds=[int(sys.argv[2])]).pid, flush=True)
time.sleep(60)
"""
_CHILD = """
import sys, time
from app.parent_process import end_with
end_with(int(sys.argv[1]))
time.sleep(60)
"""


def test_only_the_first_of_several_web_processes_says_the_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[dict[str, object]] = []

    def run_server(_settings: Settings, bound: socket.socket, **options: object) -> None:
        bound.close()
        started.append(options)

    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(serve, "run_server", run_server)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with listen("127.0.0.1", 0) as listener:
        serve.serve(fd=os.dup(listener.fileno()), threads=1)
        assert started.pop()["says_address"] is False
    serve.serve(port=0)
    assert started.pop().get("says_address", True) is True


def test_a_child_of_a_killed_process_gives_the_port_back() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-c", _PARENT, _CHILD, str(listener.fileno())]
        parent = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, pass_fds=[listener.fileno()]
        )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert (child, parent.pid) in processes_with_parents()
        with pytest.raises(Invalid, match="cannot be bound"):
            listen("127.0.0.1", port)
        parent.kill()
    deadline = time.monotonic() + 30
    while child in dict(processes_with_parents()):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            pytest.fail("the child outlived its parent")
        time.sleep(0.1)
    listen("127.0.0.1", port).close()


def test_a_child_is_told_whom_to_end_with() -> None:
    child = Child("help", ["--help"])
    assert child.process.args[3:] == ["--parent", str(os.getpid()), "--help"]  # type: ignore[index]
    assert child.process.wait() == 0
    child.stop()


def _start(folder: str, ready: object) -> None:
    settings = Settings(data_dir=Path(folder)).prepare()
    ready.wait()  # type: ignore[attr-defined]
    database = ready_database(settings, pool_size=1)
    Path(folder, f"said-{os.getpid()}").write_bytes(settings.secret)
    database.dispose()


def test_two_first_starts_at_once_both_succeed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(2)
    both = [context.Process(target=_start, args=(str(tmp_path), ready)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    said = {path.read_bytes() for path in tmp_path.glob("said-*")}
    assert len(said) == 1, "one secret"
    assert len(said.pop()) >= 32
    database = Database(Settings(data_dir=tmp_path).database)
    assert schema.is_current(database.engine)
    database.dispose()


def test_the_database_and_the_secret_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        settings = Settings(data_dir=tmp_path / "own").prepare()
        database = Database(settings.database)
        with database.reader() as session:
            session.connection()
        assert settings.secret
    finally:
        os.umask(before)
    files = [tmp_path / "own" / name for name in ("attune.sqlite3", "secret")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    for path in files:
        path.chmod(0o644)
    again = Settings(data_dir=tmp_path / "own").prepare()
    assert again.secret == settings.secret
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    database.dispose()


def test_a_secret_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(Invalid, match="at least 32 bytes, not 5"):
        assert Settings(data_dir=tmp_path).secret
