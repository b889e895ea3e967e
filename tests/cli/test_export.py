"""`attune export`: the kind of file follows its name, and a folder has everything."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import data
from app.cli.main import app
from app.db import Database
from app.errors import Invalid
from app.settings import load
from tests.services import sample_votes
from tests.worker.runs import small

runner = CliRunner()


@pytest.fixture
def slug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path / "data"))
    runner.invoke(app, ["migrate"])
    database = Database(load().database)
    with database.transaction() as session:
        project, people = sample_votes.make_project(session, labelers=1)
        comparison = sample_votes.make_comparison(session, project, overlap=1)
        sample_votes.vote(session, comparison, people[0], preferred="a")
        slug = project.slug
    database.dispose()
    wait = data._wait

    def work_and_wait(database: Database, project_id: int, number: int) -> dict[str, Any]:
        small.run_jobs(database, tmp_path / "data")
        return wait(database, project_id, number)

    monkeypatch.setattr(data, "_wait", work_and_wait)
    return slug


def run(*arguments: object) -> Any:
    result = runner.invoke(app, ["export", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout.splitlines()[-1])


def test_the_end_of_the_name_chooses_the_container(slug: str, tmp_path: Path) -> None:
    starts = {"jsonl": b"{", "jsonl.gz": b"\x1f\x8b", "parquet": b"PAR1", "csv": b"\xef\xbb\xbf"}
    for container, start in starts.items():
        to = tmp_path / f"pairs.{container}"
        out = run(slug, "trl-explicit-text", to)
        assert (out["container"], out["rows"]) == (container, 1)
        assert to.read_bytes().startswith(start)
        manifest = json.loads((tmp_path / f"pairs.{container}.manifest.json").read_text())
        assert manifest["file"]["sha256"] == out["sha256"]


def test_a_name_that_contradicts_the_container_is_refused(slug: str, tmp_path: Path) -> None:
    for option in (("--container", "parquet"), ("--option", "container=parquet")):
        with pytest.raises(Invalid, match="ends like csv, but the container is parquet"):
            run(slug, "hh", tmp_path / "a.csv", *option)
    out = run(slug, "hh", tmp_path / "a.data", "--container", "parquet")
    assert out["container"] == "parquet"


def test_a_folder_has_the_data_and_the_card(slug: str, tmp_path: Path) -> None:
    to = tmp_path / "set"
    out = run(slug, "trl-explicit", to, "--folder", "--container", "parquet")
    assert out["file"] == str(to / "data.parquet")
    assert {"data.parquet", "export.json", "README.md"} <= {path.name for path in to.iterdir()}
    with pytest.raises(Invalid, match="is not empty"):
        run(slug, "trl-explicit", to, "--folder")


def test_since_leaves_out_what_was_exported(slug: str, tmp_path: Path) -> None:
    run(slug, "hh", tmp_path / "a.jsonl")
    with pytest.raises(
        Exception, match="1 comparison: comparison not judged or settled since then"
    ):
        run(slug, "hh", tmp_path / "b.jsonl", "--since", "1")
