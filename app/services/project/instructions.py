"""The versions of a project's instruction, and what was made under each.

The newest version is in the project's row, so that showing it costs nothing. Completions and
judgments record the version that the model or the labeler saw.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.instruction_text import UNKNOWN, InstructionText
from app.errors import Invalid, NotFound
from app.models import Completion, Instruction, Judgment, Project, User
from app.services.people import audit


@dataclass(frozen=True, slots=True)
class InstructionUse:
    """What was made under a version: current judgments, and completions of models."""

    judgments: int = 0
    completions: int = 0

    def __bool__(self) -> bool:
        return bool(self.judgments or self.completions)

    @property
    def words(self) -> str:
        """Both numbers in words."""
        judged = f"{self.judgments} judgment{'' if self.judgments == 1 else 's'}"
        return f"{judged} and {self.completions} response{'' if self.completions == 1 else 's'}"


def current(project: Project) -> InstructionText:
    """Return the newest version."""
    return InstructionText(project.instruction_version, project.instruction)


def as_of(session: Session, project: Project, moment: datetime) -> InstructionText:
    """Return the version that was the newest at a moment."""
    row = session.scalar(
        select(Instruction)
        .where(Instruction.project_id == project.id, Instruction.created_at <= moment)
        .order_by(Instruction.version.desc())
        .limit(1)
    )
    return current(project) if row is None else InstructionText(row.version, row.text)


def publish(session: Session, project: Project, *, author_id: int | None) -> Instruction | None:
    """Add the project's text as the next version; None if it is the newest version's text."""
    session.flush()
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update())
    newest = session.scalar(
        select(Instruction)
        .where(Instruction.project_id == project.id)
        .order_by(Instruction.version.desc())
        .limit(1)
    )
    if newest is not None and newest.text == project.instruction:
        return None
    row = Instruction(
        project_id=project.id,
        version=1 if newest is None else newest.version + 1,
        text=project.instruction,
        author_id=author_id,
        created_at=now(session),
    )
    session.add(row)
    project.instruction_version = row.version
    session.flush()
    audit.record(
        session,
        "instruction.publish",
        f"version {row.version}",
        actor_id=author_id,
        project_id=project.id,
        details={"text": row.text},
    )
    return row


def get(session: Session, project_id: int, version: int) -> Instruction:
    """Return a version.

    Raises:
        NotFound: there is none.
    """
    row = session.scalar(
        select(Instruction).where(
            Instruction.project_id == project_id, Instruction.version == version
        )
    )
    if row is None:
        raise NotFound(f"there is no version {version} of the instruction")
    return row


def history(session: Session, project_id: int) -> list[Instruction]:
    """Return every version, newest first."""
    query = select(Instruction).where(Instruction.project_id == project_id)
    return list(session.scalars(query.order_by(Instruction.version.desc())))


def texts(session: Session, project_id: int) -> dict[int, str]:
    """Return the text of each version."""
    return {row.version: row.text for row in history(session, project_id)}


def authors(session: Session, project_id: int) -> dict[int, str]:
    """Return the names of those who wrote a version, by user id."""
    query = select(User.id, User.name).join(Instruction, Instruction.author_id == User.id)
    rows = session.execute(query.where(Instruction.project_id == project_id).distinct())
    return {row.id: row.name for row in rows}


def uses(session: Session, project_id: int) -> dict[int, InstructionUse]:
    """Count what was made under each version; 0 is what was imported."""
    judged = select(Judgment.instruction_version, func.count()).where(
        Judgment.project_id == project_id, Judgment.is_current, Judgment.is_retraction.is_(False)
    )
    sampled = select(Completion.instruction_version, func.count()).where(
        Completion.project_id == project_id
    )
    judgments = _counts(session.execute(judged.group_by(Judgment.instruction_version)))
    completions = _counts(session.execute(sampled.group_by(Completion.instruction_version)))
    return {
        version: InstructionUse(judgments.get(version, 0), completions.get(version, 0))
        for version in sorted({*judgments, *completions})
    }


def check_version(project: Project, version: int | None) -> int:
    """Return the version that a labeler saw; the newest if the client did not say.

    Raises:
        Invalid: there is no such version.
    """
    if version is None:
        return project.instruction_version
    if not UNKNOWN < version <= project.instruction_version:
        raise Invalid(
            f"the instruction has versions 1 to {project.instruction_version}, not {version}"
        )
    return version


def _counts(rows: Iterable[Row[int, int]]) -> dict[int, int]:
    return {row[0]: row[1] for row in rows}
