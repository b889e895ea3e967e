"""The versions of the instruction: when one is added, and what was made under each."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.instruction_text import InstructionText
from app.errors import Invalid, NotFound
from app.models import AuditEvent, Completion, Judgment, Project, User
from app.services.judging import labeling
from app.services.project import instructions, projects
from app.services.queue import slot_leases
from tests.services import sample


@pytest.fixture
def session(any_database: Database) -> Iterator[Session]:
    with any_database.transaction() as opened:
        yield opened


@pytest.fixture
def lead(session: Session) -> User:
    user = User(email="lead@example.org", name="Lead", created_at=sample.Clock()())
    session.add(user)
    session.flush()
    return user


@pytest.fixture
def project(session: Session, lead: User) -> Project:
    return projects.create(session, name="Desk", owner=lead, instruction="Be brief.", overlap=1)


def _edit(session: Session, project: Project, text: str, lead: User) -> None:
    projects.edit(session, project, {"instruction": text}, actor_id=lead.id)


def test_a_new_project_has_version_1(session: Session, project: Project, lead: User) -> None:
    (version,) = instructions.history(session, project.id)
    assert (version.version, version.text, version.author_id) == (1, "Be brief.", lead.id)
    assert instructions.current(project) == InstructionText(1, "Be brief.")


def test_an_edit_adds_a_version_and_an_event(
    session: Session, project: Project, lead: User
) -> None:
    _edit(session, project, "Be brief and kind.", lead)
    assert instructions.texts(session, project.id) == {1: "Be brief.", 2: "Be brief and kind."}
    assert instructions.current(project).version == 2
    actions = session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
    assert actions[-2:] == ["project.edit", "instruction.publish"]


@pytest.mark.parametrize("same", ["Be brief.", "  Be brief.\r\n"])
def test_the_same_text_adds_no_version(
    session: Session, project: Project, lead: User, same: str
) -> None:
    _edit(session, project, same, lead)
    projects.edit(session, project, {"name": "Help desk"}, actor_id=lead.id)
    assert list(instructions.texts(session, project.id)) == [1]


def test_line_breaks_of_a_form_are_those_of_a_file(
    session: Session, project: Project, lead: User
) -> None:
    _edit(session, project, "Be brief.\nBe kind.", lead)
    _edit(session, project, "Be brief.\r\nBe kind.", lead)
    assert project.instruction_version == 2


def test_an_earlier_text_is_a_new_version(session: Session, project: Project, lead: User) -> None:
    for text in ("Be kind.", "Be brief."):
        _edit(session, project, text, lead)
    assert instructions.texts(session, project.id) == {
        3: "Be brief.",
        2: "Be kind.",
        1: "Be brief.",
    }


def test_a_moment_has_the_version_of_its_time(
    session: Session, project: Project, lead: User
) -> None:
    first = instructions.get(session, project.id, 1)
    first.created_at -= timedelta(days=2)
    _edit(session, project, "Be kind.", lead)
    then = first.created_at + timedelta(days=1)
    assert instructions.as_of(session, project, then) == InstructionText(1, "Be brief.")


def test_a_version_that_does_not_exist_is_not_found(session: Session, project: Project) -> None:
    with pytest.raises(NotFound, match="no version 2 of the instruction"):
        instructions.get(session, project.id, 2)


@pytest.fixture
def labeler(session: Session, project: Project) -> int:
    return sample.make_labelers(session, project, 1)[0]


def _judge(session: Session, project: Project, labeler: int, seen: int | None = None) -> Judgment:
    sample.make_comparison(session, project)
    assignment = slot_leases.claim(session, sample.SECRET, project, labeler)
    assert assignment is not None
    given = sample.submission(assignment, instruction_version=seen)
    outcome = labeling.submit(session, project, labeler, given)
    return session.get_one(Judgment, outcome.judgment_id)


def test_a_judgment_records_the_version_that_the_labeler_saw(
    session: Session, project: Project, lead: User, labeler: int
) -> None:
    _edit(session, project, "Be kind.", lead)
    assert _judge(session, project, labeler).instruction_version == 2
    assert _judge(session, project, labeler, seen=1).instruction_version == 1


@pytest.mark.parametrize("seen", [0, 2])
def test_a_version_that_nobody_can_have_seen_is_refused(
    session: Session, project: Project, labeler: int, seen: int
) -> None:
    with pytest.raises(Invalid, match=f"has versions 1 to 1, not {seen}"):
        _judge(session, project, labeler, seen=seen)


def test_uses_count_judgments_and_completions_by_version(
    session: Session, project: Project, lead: User, labeler: int
) -> None:
    _judge(session, project, labeler)
    _edit(session, project, "Be kind.", lead)
    _judge(session, project, labeler)
    sampled = session.scalars(select(Completion)).first()
    assert sampled is not None
    sampled.instruction_version = 1
    session.flush()
    uses = instructions.uses(session, project.id)
    assert {version: (use.judgments, use.completions) for version, use in uses.items()} == {
        0: (0, 3),
        1: (1, 1),
        2: (1, 0),
    }
