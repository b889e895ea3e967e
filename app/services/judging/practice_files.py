"""Import of settled comparisons from a file, for practice or as gold.

Their prompts join the project's prompts, but no round uses their completions in its comparisons.
Importing the same row again changes nothing.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.assignment import OVERLAP_MOST
from app.domain.judgment_kinds import JudgmentKind, check
from app.domain.practice import expected
from app.errors import Invalid
from app.formats import fields
from app.formats import practice as rows
from app.formats.lines import RawRow, row
from app.formats.practice import PracticeRecord
from app.formats.raw_rows import raw_rows
from app.formats.records import CompletionText
from app.models import Comparison, Completion, Project, Purpose
from app.services.judging import judgment_bodies
from app.services.people import audit
from app.services.project import prompts
from app.services.queue import comparisons

APART = "practice-"
"""Prefix of the source key of completions that no round uses."""
MOST = 1000
Numbered = tuple[int, PracticeRecord | str]
"""A row's number, from 1, and its record, or why it could not be read."""
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A rejected row: its number, from 1, and the reason."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class PracticeImport:
    """How many comparisons are new or known already, and the rejected rows."""

    new: int
    known: int
    refused: tuple[RejectedRow, ...]


def run(
    session: Session, project: Project, file: BinaryIO, purpose: Purpose, *, actor_id: int
) -> PracticeImport:
    """Import a file of JSON lines, or a JSON array.

    Raises:
        Invalid: the file is empty, or every row is rejected.
    """
    numbered = list(_read(file))
    if not numbered:
        raise Invalid("the file is empty")
    result = add(session, project, numbered, purpose, actor_id=actor_id)
    if result.refused and not result.new and not result.known:
        first = result.refused[0]
        raise Invalid(f"every line was rejected; line {first.line}: {first.reason}")
    return result


def add(
    session: Session,
    project: Project,
    numbered: Iterable[Numbered],
    purpose: Purpose,
    *,
    actor_id: int,
) -> PracticeImport:
    """Add settled comparisons to the practice set, or to be mixed in as gold.

    Raises:
        Invalid: another purpose, or more than a thousand comparisons.
    """
    if purpose not in (Purpose.GOLD, Purpose.PRACTICE):
        raise Invalid(f"a settled comparison is for practice or gold, not {purpose}")
    new = known = 0
    refused = []
    for at, (line, record) in enumerate(numbered, 1):
        if at > MOST:
            raise Invalid(f"at most {MOST:,} comparisons can be added at once")
        try:
            is_new = _add(session, project, record, purpose)
        except Invalid as error:
            refused.append(RejectedRow(line, str(error)))
            continue
        new, known = new + is_new, known + (not is_new)
    audit.record(
        session,
        "practice.add",
        project.slug,
        actor_id=actor_id,
        project_id=project.id,
        details={"purpose": purpose, "new": new, "refused": len(refused)},
    )
    return PracticeImport(new, known, tuple(refused))


def _read(file: BinaryIO) -> Iterator[Numbered]:
    for item in raw_rows(iter(lambda: file.read(_CHUNK), b"")):
        if not isinstance(item, RawRow):
            yield item.line, item.reason
        elif item.data.strip():
            try:
                yield item.number, rows.read(row(item.data))
            except Invalid as error:
                yield item.number, str(error)


def _add(
    session: Session, project: Project, record: PracticeRecord | str, purpose: Purpose
) -> bool:
    """Add a comparison; return whether it is new."""
    if isinstance(record, str):
        raise Invalid(record)
    kind = JudgmentKind(project.judgment_kind)
    _check(session, project, kind, record, purpose)
    turns = tuple((turn.role, turn.content) for turn in record.messages)
    new_prompt = prompts.NewPrompt(turns, record.candidates[0].follow_ups, source=purpose)
    prompt = prompts.add(session, project, [new_prompt]).prompts[0]
    texts = [_whole(candidate) for candidate in record.candidates]
    digest = hashlib.sha256("\0".join(sorted(texts)).encode()).hexdigest()[:32]
    key = f"{purpose}-{kind}-{prompt.id}-{digest}"
    query = select(Comparison.id).where(
        Comparison.project_id == project.id, Comparison.natural_key == key
    )
    if session.scalar(query) is not None:
        return False
    comparisons.create(
        session,
        project,
        prompt.id,
        _completions(session, project, prompt.id, record),
        kind=kind,
        purpose=purpose,
        overlap=OVERLAP_MOST,
        gold_answer=record.answer,
        gold_reason=record.reason,
        natural_key=key,
        seed=project.split_seed,
    )
    return True


def _check(
    session: Session,
    project: Project,
    kind: JudgmentKind,
    record: PracticeRecord,
    purpose: Purpose,
) -> None:
    if purpose is Purpose.PRACTICE and not record.reason:
        raise Invalid("'reason' is empty; labelers learn from the reasons")
    k = len(record.candidates)
    asked = judgment_bodies.criteria_of(session, project.id, kind)
    body = expected(str(kind), record.answer)
    check(judgment_bodies.rules_of(project, kind, k, criteria=asked), body)


def _completions(
    session: Session, project: Project, prompt_id: int, record: PracticeRecord
) -> Sequence[int]:
    return [
        _completion_id(session, project, prompt_id, candidate) for candidate in record.candidates
    ]


def _whole(candidate: CompletionText) -> str:
    """Return what tells a completion from others: its text, and the turns before it if any."""
    return json.dumps(candidate.turns) if candidate.earlier else candidate.text


def _completion_id(
    session: Session, project: Project, prompt_id: int, candidate: CompletionText
) -> int:
    key = f"{APART}{prompts.text_hash(_whole(candidate))}"
    known = session.scalar(
        select(Completion.id).where(Completion.prompt_id == prompt_id, Completion.source_key == key)
    )
    if known is not None:
        return known
    completion = Completion(
        project_id=project.id,
        prompt_id=prompt_id,
        source=(candidate.source or "practice")[:120],
        source_key=key,
        sample_index=0,
        earlier=[dict(turn) for turn in fields.as_messages(candidate.earlier)],
        text=candidate.text,
        finish_reason="imported",
        sampling={},
        created_at=now(session),
    )
    session.add(completion)
    session.flush()
    return completion.id
