"""The first run says what is wrong when one of its processes ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.bench import process_use


@pytest.mark.skipif(sys.platform != "linux", reason="the processes are found in /proc")
def test_it_ends_with_a_sentence_if_the_web_server_does(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ATTUNE_")},
        "ATTUNE_DATA_DIR": str(tmp_path),
        "ATTUNE_PORT": "0",
    }
    command = [sys.executable, "-m", "app.cli.main", "demo"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        try:
            said = ""
            while "Watch at" not in said:
                line = demo.stderr.readline()
                assert line, said
                said += line
            (web,) = (
                pid
                for pid in process_use.descendants(demo.pid)
                if " serve " in process_use.command(pid)
            )
            os.kill(web, signal.SIGKILL)
            said += demo.stderr.read()
        finally:
            demo.terminate()
    assert demo.returncode == 1
    assert "the web server" in " ".join(said.splitlines()[-2:])
    assert f"Logs are in {tmp_path / 'logs'}" in said
    assert "Traceback" not in said
