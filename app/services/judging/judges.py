"""AI judges of a project: added, limited, archived, and what they go by.

Their judgments are in `ai_judgments`. When a judge may label alone is decided in
`quality.judge_quality`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import json_dataclasses
from app.domain.instruction_text import InstructionText
from app.domain.judges import servers
from app.domain.judges.prompts import Rubric
from app.domain.judges.servers import AllowedServer
from app.domain.judges.setup import JudgeLimits, JudgeSetup
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Conflict, Invalid, NotFound
from app.models import Guidelines, Judge, Project
from app.services.judging import judgment_bodies
from app.services.people import audit
from app.services.project import instructions, projects

REASON_MOST = 1_000


@dataclass(frozen=True, slots=True)
class JudgeRubric:
    """What a judge goes by now, with the versions of the guidelines and the instruction."""

    rubric: Rubric
    guidelines_version: int
    instruction: InstructionText


def create(
    session: Session,
    project: Project,
    setup: JudgeSetup,
    limits: JudgeLimits,
    *,
    allowed: Sequence[AllowedServer],
    actor_id: int | None,
) -> Judge:
    """Add a judge to a project; pseudonyms (J1, J2 …) are never reused.

    Raises:
        Invalid: the server is not on the operator's list.
        Conflict: the project has a judge of this name.
    """
    servers.find(allowed, setup.server)
    session.get(Project, project.id, with_for_update=True)  # serializes the choice of a pseudonym
    mine = select(func.count()).select_from(Judge).where(Judge.project_id == project.id)
    if session.scalar(mine.where(func.lower(Judge.name) == setup.name.lower())):
        raise Conflict(f"the project has an AI judge named {setup.name!r}")
    judge = Judge(
        project_id=project.id,
        name=setup.name,
        pseudonym=f"J{(session.scalar(mine) or 0) + 1}",
        setup=asdict(setup),
        limits=asdict(limits),
        created_by_id=actor_id,
        created_at=now(session),
    )
    session.add(judge)
    session.flush()
    _record(session, "create", judge, actor_id, {"server": setup.server, "model": setup.model})
    return judge


def get(session: Session, project_id: int, judge_id: int) -> Judge:
    """Return a judge of the project.

    Raises:
        NotFound: the project has no such judge.
    """
    judge = session.get(Judge, judge_id)
    if judge is None or judge.project_id != project_id:
        raise NotFound(f"there is no AI judge {judge_id} in this project")
    return judge


def named(session: Session, project_id: int, name: str) -> Judge:
    """Return a judge by its pseudonym or its name; pseudonyms come first.

    Raises:
        Invalid: the project has none; the message lists those it has.
    """
    known = of_project(session, project_id)
    by_name = {judge.name: judge for judge in known} | {judge.pseudonym: judge for judge in known}
    if name in by_name:
        return by_name[name]
    listed = ", ".join(f"{judge.pseudonym} ({judge.name})" for judge in known) or "none"
    raise Invalid(f"there is no AI judge {name!r}; the project's judges: {listed}")


def of_project(session: Session, project_id: int) -> list[Judge]:
    """Return the project's judges, oldest first."""
    query = select(Judge).where(Judge.project_id == project_id).order_by(Judge.id)
    return list(session.scalars(query))


def setup_of(judge: Judge) -> JudgeSetup:
    """Return what decides a judge's verdicts."""
    setup = json_dataclasses.read(JudgeSetup, judge.setup, "setup")
    assert isinstance(setup, JudgeSetup)
    return setup


def limits_of(judge: Judge) -> JudgeLimits:
    """Return a judge's limits and prices."""
    limits = json_dataclasses.read(JudgeLimits, judge.limits, "limits")
    assert isinstance(limits, JudgeLimits)
    return limits


def check_server(judge: Judge, allowed: Sequence[AllowedServer]) -> None:
    """Refuse a judge whose server the operator does not allow any more.

    Raises:
        Invalid: naming the judge, its server and the setting.
    """
    if reason := why_not_asked(judge, allowed):
        raise Invalid(reason)


def why_not_asked(judge: Judge, allowed: Sequence[AllowedServer]) -> str:
    """Return why a judge's server cannot be called; empty if the operator allows it."""
    try:
        servers.find(allowed, setup_of(judge).server)
    except Invalid as error:
        return f"AI judge {judge.pseudonym} cannot be asked: {error}"
    return ""


def set_limits(
    session: Session, judge: Judge, limits: JudgeLimits, *, actor_id: int | None
) -> None:
    """Change a judge's limits and prices; judgments that were made keep their cost."""
    judge.limits = asdict(limits)
    session.flush()
    _record(session, "limits", judge, actor_id, judge.limits)


def archive(session: Session, judge: Judge, *, is_archived: bool, actor_id: int | None) -> None:
    """Ask an archived judge nothing more; its judgments stay and count where they did."""
    judge.archived_at = now(session) if is_archived else None
    session.flush()
    _record(session, "archive" if is_archived else "restore", judge, actor_id, {})


def let_alone(session: Session, judge: Judge, reason: str, *, actor_id: int | None) -> None:
    """Let a judge label alone although it has not been compared with people.

    Raises:
        Invalid: no reason is given.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= REASON_MOST:
        raise Invalid(
            f"a reason of 1 to {REASON_MOST:,} characters is needed to let a judge label alone "
            "without a comparison with people"
        )
    judge.alone_reason, judge.alone_by_id, judge.alone_at = reason, actor_id, now(session)
    session.flush()
    _record(session, "let_alone", judge, actor_id, {"reason": reason})


def rubric(session: Session, project: Project, setup: JudgeSetup) -> JudgeRubric:
    """Return what a judge goes by now: guidelines, instruction, criteria, and its own notes."""
    guidelines = projects.guidelines(session, project.id)
    instruction = instructions.current(project)
    rules = judgment_bodies.rules_of(project, JudgmentKind.PICK, 2)
    rated = judgment_bodies.criteria_of(session, project.id, JudgmentKind.RATE)
    return JudgeRubric(
        Rubric(
            guidelines=text_of(guidelines),
            instruction=instruction.text,
            notes=setup.notes,
            allow_tie=project.allow_tie,
            strengths=tuple(rules.strengths),
            criteria=tuple(rated.items()),
            rating_max=project.rating_max,
        ),
        guidelines.version,
        instruction,
    )


def text_of(guidelines: Guidelines) -> str:
    """Return the guidelines as one text."""
    parts = (
        ("", guidelines.rules),
        ("## Edge cases\n\n", guidelines.edge_cases),
        ("", guidelines.body),
    )
    return "\n\n".join(f"{title}{text.strip()}" for title, text in parts if text.strip())


def _record(
    session: Session, action: str, judge: Judge, actor_id: int | None, details: dict[str, object]
) -> None:
    audit.record(
        session,
        f"judge.{action}",
        f"AI judge {judge.pseudonym}",
        actor_id=actor_id,
        project_id=judge.project_id,
        details={"name": judge.name, **details},
    )
