"""What a person asks of a chat holds, whatever its worker does at the same moment."""

import pytest
from sqlalchemy import select

from app.db import Database, now
from app.domain.plan import Sampling
from app.models import Checkpoint, CheckpointKind, ModelReply, ReplyState
from app.services.checkpoints import chat_replies, chats
from app.services.checkpoints.chats import ChatSetup
from tests.services import sample


@pytest.mark.services
def test_a_reply_that_has_just_begun_is_stopped(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.transaction() as session:
        project = sample.make_project(session)
        model = Checkpoint(
            project_id=project.id,
            kind=CheckpointKind.BASE,
            name="Base",
            uri="base",
            state="ready",
            created_at=now(session),
        )
        session.add(model)
        session.flush()
        (user_id,) = sample.make_labelers(session, project, 1)
        setup = ChatSetup(model.id, sampling=Sampling(max_new_tokens=8))
        chat = chats.start(session, project, user_id, setup, "")
        chats.say(session, chat, "Hello")
        chat_id = chat.id
    with database.transaction() as session:
        chat = chats.get(session, project.id, user_id, chat_id)
        (reply,) = session.scalars(select(ModelReply))
        assert reply.state == ReplyState.WAITING
        with database.transaction() as worker:
            assert chat_replies.begin(worker, reply.id)
        chats.stop(session, chat)
        reply_id = reply.id
    with database.transaction() as worker:
        assert chat_replies.write(worker, reply_id, "Hi", 1), "the worker hears of it"
        chat_replies.finish(worker, reply_id, "Hi", 1)
    with database.reader() as session:
        assert session.get_one(ModelReply, reply_id).state == ReplyState.STOPPED
    database.dispose()
