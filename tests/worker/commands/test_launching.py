"""Several processes of one command, ended from outside."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.worker.files import material
from worker.commands.watching import INTERRUPTED


@pytest.mark.slow
def test_a_termination_ends_every_process_with_the_state_saved(tmp_path: Path) -> None:
    base = material.save_tiny_llama(tmp_path / "base")
    data = material.demonstrations(tmp_path / "d.jsonl", 24)
    out = tmp_path / "out"
    more = ("--batch-size", 8, "--epochs", 10_000, "--device", "cpu", "--processes", 2, "--json")
    command = ("train", "sft", data, "-m", base, "-o", out, *more)
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            assert first["event"] == "step"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == INTERRUPTED
            process.stdout.read()  # its end: every process that could write to it has ended
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # a launcher that was left behind
    assert list((out / "work").glob("state-*"))
