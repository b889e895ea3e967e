"""What is asked of a model or a result eight times at once is done once, and recorded once."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Conflict, NotFound
from app.models import AuditEvent, Chat, Checkpoint, CheckpointKind, Job, Project, Scoring
from app.services.checkpoints import base_models, chats, hub_pushes, merged_models, results_files
from app.services.checkpoints.chats import ChatSetup
from app.services.checkpoints.hub_pushes import HubPush
from app.services.rounds import scorings
from tests.browser import planted
from tests.services.people.test_at_once import at_once

pytestmark = pytest.mark.services


@pytest.fixture
def shared(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, pool_size=20)
    with database.transaction() as session:
        planted.make_rows(session)
    yield database
    database.dispose()


def eight(shared: Database, act: Callable[[Session], object]) -> list[str]:
    def once(_number: int) -> str:
        try:
            with shared.transaction() as session:
                return str(act(session))
        except (Conflict, NotFound) as error:
            return type(error).__name__

    return sorted(at_once(8, once))


def events(shared: Database, action: str) -> int:
    with shared.reader() as session:
        named = AuditEvent.action == action
        return session.scalar(select(func.count()).where(named)) or 0


def trained(session: Session) -> Checkpoint:
    kind = Checkpoint.kind == CheckpointKind.POLICY
    return session.scalars(select(Checkpoint).where(kind, Checkpoint.state == "ready")).first()  # type: ignore[return-value]


def test_a_model_is_checked_once(shared: Database) -> None:
    def check(session: Session) -> int:
        base = select(Checkpoint).where(Checkpoint.kind == CheckpointKind.BASE)
        row = session.scalars(base.order_by(Checkpoint.id).limit(1)).one()
        return base_models.check_again(session, row, actor_id=None).id

    assert len(set(eight(shared, check))) == 1


def test_a_model_is_merged_once(shared: Database) -> None:
    before = events(shared, "checkpoint.merge")
    said = eight(shared, lambda s: merged_models.request(s, trained(s), user_id=None).id)
    assert len(set(said)) == 1
    assert events(shared, "checkpoint.merge") == before + 1


def test_a_model_is_uploaded_once_under_a_name(shared: Database) -> None:
    def push(session: Session) -> Job:
        return hub_pushes.request(session, trained(session), HubPush("me/model"), user_id=None)

    assert eight(shared, push).count("Conflict") == 7


def test_a_person_has_one_chat_open_in_a_project(shared: Database) -> None:
    def start(session: Session) -> int:
        model = trained(session)
        project = session.get_one(Project, model.project_id)
        person = session.scalars(select(Chat.user_id)).first()
        assert person is not None
        return chats.start(session, project, person, ChatSetup(model.id), "").id

    assert len(set(eight(shared, start))) == 8
    with shared.reader() as session:
        opened = select(func.count()).where(Chat.is_open.is_(True))
        assert session.scalar(opened) == 1


def test_a_result_is_removed_once(shared: Database) -> None:
    with shared.reader() as session:
        scoring = session.scalars(select(Scoring)).one()
        files = results_files.of_project(session, scoring.project_id)

    def remove_scoring(session: Session) -> None:
        row = scorings.get(session, scoring.project_id, scoring.id)
        scorings.remove(session, row, user_id=None)

    def remove_file(session: Session) -> None:
        row = results_files.get(session, scoring.project_id, files[0].id)
        results_files.remove(session, row, user_id=None)

    assert eight(shared, remove_scoring).count("NotFound") == 7
    assert eight(shared, remove_file).count("NotFound") == 7
    assert (events(shared, "scoring.remove"), events(shared, "results.remove")) == (1, 1)
