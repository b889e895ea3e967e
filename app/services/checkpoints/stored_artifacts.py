"""Which folders below the artifact root the database names: models, merged models and exports.

Folders are published before a row names them and are never deleted, so whatever a snapshot of the
database names is complete at the artifact root. A row may be of an older revision than the code:
only columns that every revision has are read.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.states import JobState
from app.models import Checkpoint, CheckpointKind, Export, Job
from app.services.checkpoints import merged_models


@dataclass(frozen=True, slots=True)
class NamedArtifact:
    """A folder below the artifact root, and the hash of its manifest if the row has it."""

    uri: str
    sha256: str
    what: str


def named(session: Session) -> list[NamedArtifact]:
    """Return every folder that a row names, once, ordered by its key."""
    found = {artifact.uri: artifact for artifact in (*_exports(session), *_merged(session))}
    models = select(Checkpoint.uri, Checkpoint.sha256, Checkpoint.name)
    for uri, sha256, name in session.execute(models.where(Checkpoint.kind != CheckpointKind.BASE)):
        found[uri] = NamedArtifact(uri, sha256, f"model {name}")
    return [found[uri] for uri in sorted(found)]


def _exports(session: Session) -> list[NamedArtifact]:
    rows = session.execute(select(Export.uri, Export.number).where(Export.uri != ""))
    return [NamedArtifact(uri.rpartition("/")[0], "", f"export {number}") for uri, number in rows]


def _merged(session: Session) -> list[NamedArtifact]:
    rows = session.execute(
        select(Job.id, Job.result).where(
            Job.kind == merged_models.KIND, Job.state == JobState.SUCCEEDED
        )
    )
    return [
        NamedArtifact(str(result["folder"]), str(result.get("sha256", "")), f"merge of job {id}")
        for id, result in rows
        if result.get("folder")
    ]
