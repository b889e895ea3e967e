"""Results files of a project: taken in, listed, thrown away.

They are not completions: nobody judges them and nothing is trained on them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import splits
from app.errors import Invalid, NotFound
from app.formats import fields, registry
from app.formats.records import (
    CompletionsRecord,
    DemonstrationRecord,
    Record,
    Rejected,
)
from app.models import Project, ResultsFile, ResultsRow
from app.services.people import audit

MOST_ROWS = 20_000
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class AddedResults:
    """A file that came in, and what was left out of it."""

    file: ResultsFile
    was_there: bool = False
    left_out: int = 0
    reason: str = ""  # of the first line that was left out

    @property
    def summary(self) -> str:
        """One sentence about what became of it."""
        if self.was_there:
            return f"{self.file.name} was here already."
        said = f"{self.file.name} has {self.file.rows} prompts with an answer."
        return f"{said} {self.left_out} were left out; {self.reason}." if self.left_out else said


def add(
    session: Session,
    project: Project,
    stream: BinaryIO,
    *,
    filename: str,
    user_id: int | None,
) -> AddedResults:
    """Take a results file in: completions in any format, the first answer to each prompt.

    Raises:
        Invalid: no line holds a prompt with an answer, or there are too many.
    """
    sha256 = _hash(stream)
    known = session.scalar(
        select(ResultsFile).where(
            ResultsFile.project_id == project.id, ResultsFile.sha256 == sha256
        )
    )
    if known is not None:
        return AddedResults(known, was_there=True)
    rows: dict[str, ResultsRow] = {}
    left_out, reason = 0, ""
    for line, item in registry.numbered(_chunks(stream)):
        refused = _refusal(item, rows)
        if refused:
            left_out += 1
            reason = reason or f"line {line}: {refused}"
            continue
        row = _row(item)
        rows[row.content_hash] = row
        if len(rows) > MOST_ROWS:
            raise Invalid(f"a results file may hold {MOST_ROWS} prompts; this one holds more")
    if not rows:
        raise Invalid(f"{filename} holds no prompt with an answer; {reason}")
    file = ResultsFile(
        project_id=project.id,
        name=filename[:200] or "results.jsonl",
        sha256=sha256,
        rows=len(rows),
        created_by_id=user_id,
        created_at=now(session),
    )
    session.add(file)
    session.flush()
    for row in rows.values():
        row.file_id = file.id
    session.add_all(rows.values())
    audit.record(
        session, "results.add", f"results {file.id}", actor_id=user_id, project_id=project.id
    )
    return AddedResults(file, left_out=left_out, reason=reason)


def of_project(session: Session, project_id: int) -> list[ResultsFile]:
    """Return the results files, newest first."""
    query = select(ResultsFile).where(ResultsFile.project_id == project_id)
    return list(session.scalars(query.order_by(ResultsFile.id.desc())))


def get(session: Session, project_id: int, file_id: int) -> ResultsFile:
    """Return a results file of the project.

    Raises:
        NotFound: there is none.
    """
    found = session.get(ResultsFile, file_id)
    if found is None or found.project_id != project_id:
        raise NotFound(f"there is no results file {file_id} in this project")
    return found


def remove(session: Session, file: ResultsFile, *, user_id: int | None) -> None:
    """Throw a results file away."""
    session.execute(delete(ResultsRow).where(ResultsRow.file_id == file.id))
    session.delete(file)
    audit.record(
        session,
        "results.remove",
        f"results {file.id}",
        actor_id=user_id,
        project_id=file.project_id,
    )


def _refusal(item: Record | Rejected, rows: dict[str, ResultsRow]) -> str:
    if isinstance(item, Rejected):
        return item.reason
    if not isinstance(item, CompletionsRecord | DemonstrationRecord):
        return "it holds no answer"
    return "the prompt came before" if _row(item).content_hash in rows else ""


def _row(item: Record | Rejected) -> ResultsRow:
    assert isinstance(item, CompletionsRecord | DemonstrationRecord)
    text = item.response if isinstance(item, DemonstrationRecord) else item.completions[0].text
    return ResultsRow(
        content_hash=splits.content_hash((turn.role, turn.content) for turn in item.messages),
        messages=fields.as_messages(item.messages),
        text=text,
    )


def _hash(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(stream):
        digest.update(chunk)
    stream.seek(0)
    return digest.hexdigest()


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk
