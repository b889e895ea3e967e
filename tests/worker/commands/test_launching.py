"""Commands that run as several processes."""

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from worker.commands import launching


def test_the_processes_of_a_command_have_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}

    def start(_command: object, env: dict[str, str]) -> Any:
        given.update(env)
        return SimpleNamespace(wait=lambda: 0, send_signal=lambda _number: None)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setenv("ATTUNE_JUDGE_SERVERS", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    with pytest.raises(typer.Exit):
        launching.start(2, "cpu")
    assert given["ATTUNE_JUDGE_SERVERS"] == "http://127.0.0.1:9/v1"
    assert (given["GOMP_SPINCOUNT"], given["ACCELERATE_USE_CPU"]) == ("7", "true")
    assert given["PYTHONFAULTHANDLER"] == "1"
