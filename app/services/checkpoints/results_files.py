"""Results files of a project: responses of models elsewhere, uploaded for comparison.

They are not completions: nobody judges them and no model is trained on them.
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
    CompletionText,
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
    """An uploaded file, and what was left out of it."""

    file: ResultsFile
    was_there: bool = False
    left_out: int = 0
    reason: str = ""  # of the first line that was left out

    @property
    def summary(self) -> str:
        """The outcome of the upload in one or two sentences."""
        if self.was_there:
            return f"{self.file.name} was uploaded before."
        outcome = f"{self.file.name} has {self.file.rows} prompts with a response."
        if not self.left_out:
            return outcome
        return f"{outcome} {self.left_out} rows were left out; {self.reason}."


def add(
    session: Session,
    project: Project,
    stream: BinaryIO,
    *,
    filename: str,
    user_id: int | None,
) -> AddedResults:
    """Store a results file: completions in any format, the first response to each prompt.

    Raises:
        Invalid: no line has a prompt with a response, or too many have.
    """
    sha256 = _hash(stream)
    existing = session.scalar(
        select(ResultsFile).where(
            ResultsFile.project_id == project.id, ResultsFile.sha256 == sha256
        )
    )
    if existing is not None:
        return AddedResults(existing, was_there=True)
    rows: dict[str, ResultsRow] = {}
    left_out, reason = 0, ""
    for line, outcome in registry.numbered(_chunks(stream)):
        refused = _refusal(outcome, rows)
        if refused:
            left_out += 1
            reason = reason or f"line {line}: {refused}"
            continue
        row = _row(outcome)
        rows[row.content_hash] = row
        if len(rows) > MOST_ROWS:
            raise Invalid(f"a results file may have at most {MOST_ROWS} prompts; this one has more")
    if not rows:
        raise Invalid(f"{filename} has no prompt with a response; {reason}")
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
    """Return the project's results files, newest first."""
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
    """Delete a results file.

    Raises:
        NotFound: somebody else deleted it at the same moment.
    """
    if session.get(ResultsFile, file.id, with_for_update=True, populate_existing=True) is None:
        raise NotFound(f"there is no results file {file.id} in this project")
    session.execute(delete(ResultsRow).where(ResultsRow.file_id == file.id))
    session.delete(file)
    audit.record(
        session,
        "results.remove",
        f"results {file.id}",
        actor_id=user_id,
        project_id=file.project_id,
    )


def _refusal(outcome: Record | Rejected, rows: dict[str, ResultsRow]) -> str:
    if isinstance(outcome, Rejected):
        return outcome.reason
    if not isinstance(outcome, CompletionsRecord | DemonstrationRecord):
        return "it has no response"
    return "the prompt appeared before" if _row(outcome).content_hash in rows else ""


def _row(outcome: Record | Rejected) -> ResultsRow:
    assert isinstance(outcome, CompletionsRecord | DemonstrationRecord)
    response = (
        CompletionText(outcome.response)
        if isinstance(outcome, DemonstrationRecord)
        else outcome.completions[0]
    )
    asked = [*outcome.messages, *(("user", text) for text in response.follow_ups)]
    return ResultsRow(
        content_hash=splits.content_hash((role, content) for role, content in asked),
        messages=fields.as_messages(outcome.messages),
        earlier=fields.as_messages(response.earlier),
        text=response.text,
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
