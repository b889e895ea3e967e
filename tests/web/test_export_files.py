"""Exports over HTTP: each kind of file with its name, type and hash, whole or in parts."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import Demonstration, Project, Prompt, Role, Split, User
from app.services.datasets import imports
from app.services.people import accounts
from app.services.project import projects
from app.services.project import prompts as project_prompts
from tests.services import sample_votes
from tests.worker.runs import small

API = "/api/v1/projects/{}/exports"
TEXTS = [("=1+1", "-no"), ("", "x"), ("'@a", 'b "c",\nd'), ("Grüße", "None")]


@pytest.fixture
def lead(sign_in: Callable[..., TestClient]) -> TestClient:
    return sign_in("lead")


@pytest.fixture
def slug(database: Database, lead: TestClient) -> str:
    with database.transaction() as session:
        project, people = sample_votes.make_project(session, labelers=1)
        _led(session, project)
        for texts in TEXTS:
            comparison = sample_votes.make_comparison(session, project, texts, overlap=1)
            sample_votes.vote(session, comparison, people[0], preferred="a")
            project_prompts.add_demonstrations(
                session, [(session.get_one(Prompt, comparison.prompt_id), f"See {texts[1]}")]
            )
        return project.slug


def _led(session: Any, project: Project) -> None:
    user = session.scalars(select(User).where(User.name == "lead")).one()
    accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=None)


def export(
    lead: TestClient, database: Database, folder: Path, slug: str, format: str, **options: Any
) -> dict[str, Any]:
    asked = lead.post(API.format(slug), json={"format": format, "options": options})
    assert asked.status_code == 202, asked.text
    assert small.run_jobs(database, folder) == ["export"]
    ready: dict[str, Any] = lead.get(f"{API.format(slug)}/{asked.json()['number']}").json()
    assert ready["state"] == "ready", ready["error"]
    return ready


@pytest.mark.parametrize(
    ("container", "media_type"),
    [
        ("jsonl", "application/jsonl"),
        ("jsonl.gz", "application/gzip"),
        ("parquet", "application/vnd.apache.parquet"),
        ("csv", "text/csv; charset=utf-8"),
    ],
)
def test_a_file_has_its_name_type_and_hash_and_can_be_resumed(
    lead: TestClient,
    database: Database,
    tmp_path: Path,
    slug: str,
    container: str,
    media_type: str,
) -> None:
    ready = export(lead, database, tmp_path, slug, "trl-explicit-text", container=container)
    assert (ready["container"], ready["rows"]) == (container, 4)
    for path in (f"{API.format(slug)}/1/download", f"/p/{slug}/exports/1/download"):
        whole = lead.get(path)
        assert whole.headers["content-type"] == media_type
        name = f"{slug}-export-1-trl-explicit-text.{container}"
        assert whole.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert "content-encoding" not in whole.headers
        assert len(whole.content) == ready["bytes"]
        assert hashlib.sha256(whole.content).hexdigest() == ready["sha256"]
        rest = lead.get(path, headers={"range": "bytes=10-"})
        assert (rest.status_code, rest.content) == (206, whole.content[10:])
    file = ready["manifest"]["file"]
    assert file == {
        "name": f"data.{container}",
        "container": container,
        "bytes": ready["bytes"],
        "sha256": ready["sha256"],
    }
    lines = export(lead, database, tmp_path, slug, "trl-explicit-text")
    assert lines["manifest"]["content_sha256"] == ready["manifest"]["content_sha256"]
    assert (lines["sha256"] == ready["sha256"]) == (container == "jsonl")
    shown = lead.get(f"/p/{slug}/exports/1", headers={"accept": "text/html"}).text
    assert ("SHA-256 of the rows" in shown) == (container != "jsonl")


@pytest.mark.parametrize(
    ("format", "container"),
    [
        ("trl-explicit-text", "csv"),
        ("trl-explicit", "parquet"),
        ("openai-preference", "jsonl.gz"),
        ("llama-factory-sharegpt", "parquet"),
        ("llama-factory-alpaca", "parquet"),
        ("vertex-rlhf", "csv"),
        ("unpaired", "parquet"),
        ("demonstrations-text", "csv"),
        ("demonstrations", "parquet"),
    ],
)
def test_an_export_imported_into_an_empty_project_exports_the_same_bytes(
    lead: TestClient, database: Database, tmp_path: Path, slug: str, format: str, container: str
) -> None:
    # A file of preferences names no margin where the votes are counted.
    options = {"container": container, "aggregate": "majority"}
    first = export(lead, database, tmp_path, slug, format, **options)
    content = lead.get(f"{API.format(slug)}/1/download").content
    with database.transaction() as session:
        owner = accounts.create_user(session, email="e@example.org", name="E", password=None)
        empty = projects.create(session, name="Empty", owner=owner)
        _led(session, empty)
        run = imports.run(session, empty, io.BytesIO(content), filename=f"a.{container}")
        assert run.rejects == []
        for prompt in session.scalars(select(Prompt).where(Prompt.project_id == empty.id)):
            prompt.split = Split.TRAIN
        other = empty.slug
    second = export(lead, database, tmp_path, other, format, **options)
    assert second["rows"] == first["rows"] > 0
    assert lead.get(f"{API.format(other)}/1/download").content == content


def test_the_folder_has_the_data_the_manifest_and_a_card_that_finds_them(
    lead: TestClient, database: Database, tmp_path: Path, slug: str
) -> None:
    ready = export(
        lead,
        database,
        tmp_path,
        slug,
        "llama-factory-sharegpt",
        container="parquet",
        license="cc-by-4.0",
    )
    for path in (f"{API.format(slug)}/1/folder", f"/p/{slug}/exports/1/folder"):
        sent = lead.get(path)
        assert sent.headers["content-type"] == "application/x-tar"
        with tarfile.open(fileobj=io.BytesIO(sent.content)) as archive:
            top = f"{slug}-export-1"
            files = {
                member.name.removeprefix(f"{top}/"): archive.extractfile(member).read()  # type: ignore[union-attr]
                for member in archive
            }
        assert {"data.parquet", "export.json", "README.md", "dataset_info.json"} <= files.keys()
        card = files["README.md"].decode()
        header = yaml.safe_load(card.split("---\n")[1])
        assert header["license"] == "cc-by-4.0"
        assert header["configs"][0]["data_files"] == [{"split": "train", "path": "data.parquet"}]
        assert "| License | cc-by-4.0 |" in card
        (entry,) = json.loads(files["dataset_info.json"]).values()
        assert entry["file_name"] == "data.parquet"
        manifest = json.loads(files["export.json"])
        assert manifest["file"] == ready["manifest"]["file"]
        assert manifest["licence"] == "cc-by-4.0"


def test_a_format_that_does_not_fit_is_refused_with_the_reason(lead: TestClient, slug: str) -> None:
    body = {"format": "trl-explicit", "options": {"container": "csv"}}
    refused = lead.post(API.format(slug), json=body)
    assert refused.status_code == 422
    assert "trl-explicit cannot be csv: 'prompt' holds a list" in refused.json()["detail"]
    form = {"format": "trl-explicit", "container": "csv", "since": "2026-03-01"}
    page = lead.post(f"/p/{slug}/exports", data=form)
    assert page.status_code == 422
    assert "Trl-explicit cannot be csv" in page.text
    assert '<option value="csv" selected>' in page.text
    assert 'value="2026-03-01"' in page.text
    fitting = lead.get(f"{API.format(slug)}/containers").json()
    assert fitting["trl-explicit"] == ["jsonl", "jsonl.gz", "parquet"]
    assert fitting["trl-explicit-text"] == ["jsonl", "jsonl.gz", "parquet", "csv"]
    unknown = {"format": "hh", "options": {"container": "xlsx"}}
    assert "there is no container" in lead.post(API.format(slug), json=unknown).text


def test_an_export_since_an_earlier_one_has_what_came_later(
    lead: TestClient, database: Database, tmp_path: Path, slug: str
) -> None:
    early = {"format": "hh", "options": {"since": 1}}
    assert lead.post(API.format(slug), json=early).status_code == 404
    export(lead, database, tmp_path, slug, "trl-explicit-text")
    with database.transaction() as session:
        project = projects.by_slug(session, slug)
        person = accounts.create_user(session, email="n@example.org", name="N", password=None)
        accounts.add_member(session, project.id, person.id, Role.LABELER, actor_id=None)
        new = sample_votes.make_comparison(session, project, ("late", "later"), overlap=1)
        sample_votes.vote(session, new, person, preferred="a")
    ready = export(lead, database, tmp_path, slug, "trl-explicit-text", since=1)
    assert ready["rows"] == 1
    assert ready["options"]["since_export"] == 1
    assert ready["manifest"]["filter"]["since"].endswith("(export 1)")
    unchanged = {"comparison not judged or settled since then": 4}
    for unit in ("comparisons", "judgments"):
        counted = {"considered": 5, "exported": 1, "excluded": unchanged}
        assert ready["counts"][unit] == counted
    form = {"format": "trl-explicit-text", "since": "1"}
    assert lead.post(f"/p/{slug}/exports", data=form).status_code == 303
    assert small.run_jobs(database, tmp_path) == ["export"]
    assert lead.get(f"{API.format(slug)}/3").json()["rows"] == 1
    assert "(export 1)" in lead.get(f"/p/{slug}/exports/3", headers={"accept": "text/html"}).text
    queued = lead.post(API.format(slug), json={"format": "hh"}).json()["number"]
    since_queued = {"format": "hh", "options": {"since": queued}}
    assert "has no data yet" in lead.post(API.format(slug), json=since_queued).text


def test_demonstrations_since_a_time_are_those_that_came_later(
    lead: TestClient, database: Database, tmp_path: Path, slug: str
) -> None:
    with database.transaction() as session:
        newest = session.scalars(select(Demonstration).order_by(Demonstration.id)).all()[-1]
        moment = newest.created_at
        prompt = session.get_one(Prompt, newest.prompt_id)
        project_prompts.add_demonstrations(session, [(prompt, "new")])
    ready = export(lead, database, tmp_path, slug, "demonstrations", since=moment.isoformat())
    assert ready["rows"] == 1
    older = {"considered": 5, "exported": 1, "excluded": {"imported before then": 4}}
    assert ready["counts"]["demonstrations"] == older
