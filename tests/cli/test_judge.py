"""`attune judge`: the jobs that it enqueues, and what it prints."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import queue
from app.cli.main import app
from app.db import Database
from app.errors import Conflict, Invalid
from tests.services import sample
from tests.worker.runs import judged

runner = CliRunner()


def test_judges_are_listed_and_asked(
    database: Database, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk", overlap=1)
        judged.make_comparisons(session, project, 3)
        judged.judge_by_people(session, project, sample.make_labelers(session, project, 1), 2)
        judged.make_judge(session, project, judged.SERVER, name="Strict")
    monkeypatch.setenv("ATTUNE_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("ATTUNE_SECRET_KEY", "x" * 40)
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path))
    row = json.loads(runner.invoke(app, ["judge", "list", "desk"]).stdout)
    assert (row["judge"], row["name"], row["measures"]["compared"]) == ("J1", "Strict", 0)
    unlisted = runner.invoke(app, ["judge", "compare", "desk", "J1"]).exception
    assert isinstance(unlisted, Invalid)
    assert f"AI judge J1 cannot be asked: server {judged.SERVER} is not among" in str(unlisted)
    monkeypatch.setenv("ATTUNE_JUDGE_SERVERS", judged.SERVER)
    queue.configure("redis://127.0.0.1:9/0")  # down: said to people, not among the rows
    asked = runner.invoke(app, ["judge", "compare", "desk", "Strict", "--count", "5"])
    assert "wake not sent" in asked.stderr
    assert json.loads(asked.stdout.splitlines()[-1])["comparisons"] == 2
    refused = runner.invoke(app, ["judge", "label", "desk", "J1"]).exception
    assert isinstance(refused, Conflict)
    assert "before it judges alone" in str(refused)
    unknown = runner.invoke(app, ["judge", "compare", "desk", "J9"]).exception
    assert isinstance(unknown, Invalid)
    assert "the project's judges: J1 (Strict)" in str(unknown)
