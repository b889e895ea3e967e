"""Folders of checkpoints by the name that people see, for commands."""

from pathlib import Path

from app.db import Database
from app.errors import NotFound
from app.models import Checkpoint
from app.services.checkpoints import checkpoints
from app.services.project import projects
from worker.artifacts import Artifacts


def folder_of(database_url: str, store: Artifacts, slug: str, name: str) -> Path:
    """Return the local folder of a checkpoint, by its name or number in a project.

    Raises:
        NotFound: the project has none of that name; the message lists those it has.
    """
    database = Database(database_url)
    try:
        with database.reader() as session:
            project = projects.by_slug(session, slug)
            row = _named(checkpoints.of_project(session, project.id), name, slug)
            uri, sha256 = row.uri, row.sha256
    finally:
        database.dispose()
    return store.fetch(uri, sha256)


def _named(rows: list[Checkpoint], name: str, slug: str) -> Checkpoint:
    for row in rows:
        if name.lower() in {row.name.lower(), str(row.id)} and row.sha256:
            return row
    known = ", ".join(row.name for row in rows if row.sha256) or "none"
    raise NotFound(f"{slug} has no checkpoint {name!r}; it has {known}")
