"""A live server with a worker beside it, and a project on it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.errors import AttuneError
from app.services.jobs import job_leases
from app.services.people import accounts
from app.services.project import projects
from attune import project as project_module
from tests.live import serve
from tests.worker.runs import small
from worker.runs import find


@dataclass(frozen=True, slots=True)
class Live:
    """The address of a server, and the token of the lead of its project `desk`."""

    url: str
    token: str
    database: Database


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide the folder of downloads."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ATTUNE_CACHE", str(folder))
    return folder


@pytest.fixture
def live(
    application: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Live]:
    """Serve a project, and run its jobs; nothing is waited for longer than half a minute."""
    looks = project_module._looks
    monkeypatch.setattr(project_module, "_looks", lambda time_s, *say: looks(min(time_s, 30), *say))
    with database.transaction() as session:
        lead = accounts.create_user(
            session, email="lead@example.org", name="Lead", password=None, is_admin=True
        )
        projects.create(session, name="Desk", owner=lead, base_model="starter")
        token = accounts.create_token(session, lead, name="notebook", scopes=["write"]).secret
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(0.02):
            run_job(database, tmp_path)

    worker = threading.Thread(target=work, daemon=True)
    with serve(application) as url:
        worker.start()
        yield Live(url, token, database)
        is_over.set()
        worker.join(10)


def run_job(database: Database, folder: Path) -> None:
    """Run a job of the queue `cpu`, such as an export, if there is one; it may fail."""
    with database.transaction() as session:
        claimed = job_leases.claim(session, "here", ["cpu"], lease_s=600)
    if claimed is None:
        return
    try:
        find(claimed.kind)(small.context_of(database, claimed, folder))
    except AttuneError as error:
        with database.transaction() as session:
            job_leases.fail(session, claimed.job_id, claimed.lease_token, str(error))
