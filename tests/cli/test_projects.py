"""Projects on the command line: creating them with a goal, and changing it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.main import app

runner = CliRunner()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path / "data"))


def _run(*arguments: str) -> str:
    result = runner.invoke(app, arguments)
    assert result.exception is None, result.exception
    return result.stdout


def test_a_project_is_created_with_a_goal_which_can_be_changed() -> None:
    _run("user", "add", "ada@example.org")
    made = json.loads(_run("project", "add", "Which is best", "--lead", "ada@example.org"))
    assert made == {
        **{"slug": "which-is-best", "name": "Which is best"},
        **{"goal": "train", "task": "pick", "k": 2},  # the default for scripts
    }
    lead = ("--lead", "ada@example.org", "--goal", "collect", "--task", "rank")
    _run("project", "add", "Ranks", *lead)
    _run("project", "goal", "which-is-best", "compare")
    listed = [json.loads(line) for line in _run("project", "list").splitlines()]
    assert [(row["slug"], row["goal"]) for row in listed] == [
        ("ranks", "collect"),
        ("which-is-best", "compare"),
    ]
    assert runner.invoke(app, ["project", "goal", "ranks", "win"]).exit_code != 0
    assert runner.invoke(app, ["project", "add", "X", "--lead", "no@example.org"]).exit_code != 0
