import os
from unittest.mock import Mock

import pytest

from worker.commands import watching
from worker.launcher import environment


def test_threads_wait_a_moment_and_then_sleep() -> None:
    found = environment({})
    assert (found["OMP_WAIT_POLICY"], found["GOMP_SPINCOUNT"]) == ("PASSIVE", "1000")


def test_an_operators_choice_of_waiting_stays() -> None:
    found = environment({"OMP_WAIT_POLICY": "ACTIVE"})
    assert found["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in found


def test_commands_wait_as_jobs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(watching, "import_module", lambda _name: Mock())
    watching.load("worker.files.sft")
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"]) == ("PASSIVE", "1000")
