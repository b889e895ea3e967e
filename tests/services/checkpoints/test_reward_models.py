"""Which reward models a lead may use as rewards, and in which words any other is refused."""

import pytest
from sqlalchemy.orm import Session

from app.db import now
from app.domain.reward_parts import CheckpointName
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Project, Role, User
from app.services.checkpoints import reward_models
from app.services.people import accounts
from tests.services import sample


def add_model(session: Session, project: Project, name: str, state: str = "ready") -> None:
    kind = CheckpointKind.REWARD
    row = Checkpoint(project_id=project.id, kind=kind, name=name, uri="x", state=state)
    row.created_at = now(session)
    session.add(row)
    session.flush()


def person(session: Session, name: str) -> User:
    return accounts.create_user(
        session, email=f"{name}@example.org", name=name, password="a long enough password"
    )


def join(session: Session, project: Project, user: User, role: Role) -> None:
    accounts.add_member(session, project.id, user.id, role, actor_id=None)


def test_a_lead_may_use_the_models_of_the_projects_they_lead_and_no_other(
    session: Session,
) -> None:
    here, led, labeled, foreign = (
        sample.make_project(session, slug=slug) for slug in ("here", "led", "labeled", "foreign")
    )
    for project in (here, led, labeled, foreign):
        add_model(session, project, "Reward 1")
    add_model(session, led, "Reward 2", state="retired")
    user = person(session, "ann")
    join(session, here, user, Role.LEAD)
    join(session, led, user, Role.LEAD)
    join(session, labeled, user, Role.LABELER)
    assert reward_models.readable(session, here.id, user.id) == ["Reward 1", "led/Reward 1"]
    for name in (CheckpointName("", "Reward 1"), CheckpointName("here", "Reward 1")):
        reward_models.check_readable(session, here.id, name, user.id)
    for owner, number in (("labeled", 1), ("foreign", 1), ("nowhere", 1), ("led", 2)):
        name = CheckpointName(owner, f"Reward {number}")
        words = (
            f"no reward model '{owner}/Reward {number}' that you may use; you may use Reward 1, led"
        )
        with pytest.raises(Invalid, match=words):
            reward_models.check_readable(session, here.id, name, user.id)


def test_an_administrator_may_use_all_of_them(session: Session) -> None:
    here, other = (sample.make_project(session, slug=slug) for slug in ("here", "other"))
    add_model(session, other, "Reward 3")
    user = person(session, "root")
    user.is_admin = True
    session.flush()
    assert reward_models.readable(session, here.id, user.id) == ["other/Reward 3"]
    assert reward_models.readable(session, here.id, None) == ["other/Reward 3"]


def test_a_retired_model_is_refused_by_its_state(session: Session) -> None:
    here = sample.make_project(session)
    add_model(session, here, "Reward 1", state="retired")
    with pytest.raises(Invalid, match="'Reward 1' in this project is retired"):
        reward_models.named(session, here.id, CheckpointName("", "Reward 1"))
