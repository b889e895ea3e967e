"""Replies in a chat as the job that writes them sees them: found, written piece by piece, ended."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db import now
from app.domain.chat_settings import without_reasoning
from app.models import Chat, ChatTurn, Job, ModelReply, ReplyState, WorkerHeartbeat
from app.queue import QUEUES
from app.services.checkpoints import chats
from app.services.jobs import job_leases

NOTE: Final = 300

Message = dict[str, str]


def restart(session: Session, chat_id: int) -> None:
    """Let replies that an attempt left half-written be written anew."""
    half = select(ChatTurn.id).where(ChatTurn.chat_id == chat_id)
    session.execute(
        update(ModelReply)
        .where(ModelReply.turn_id.in_(half), ModelReply.state == ReplyState.WRITING)
        .values(state=ReplyState.WAITING, text="", tokens=0)
        .execution_options(synchronize_session=False)
    )


def next_waiting(session: Session, chat_id: int) -> ModelReply | None:
    """Return the reply to write next."""
    query = (
        select(ModelReply)
        .join(ChatTurn, ChatTurn.id == ModelReply.turn_id)
        .where(ChatTurn.chat_id == chat_id, ModelReply.state == ReplyState.WAITING)
        .order_by(ChatTurn.n, ModelReply.side)
    )
    return session.scalar(query.limit(1))


def messages(
    session: Session, chat_id: int, reply: ModelReply, *, thought_end: str = ""
) -> list[Message]:
    """Return the conversation of one side up to the message that it replies to.

    A turn without a response of this side is left out: a template wants turns to alternate. So is
    the reasoning of earlier responses, as published templates do.
    """
    turns: list[Message] = []
    for exchange in chats.exchanges(session, chat_id):
        own = next((one for one in exchange.replies if one.side == reply.side), None)
        if own is None:
            continue
        if own.id == reply.id:
            return [*turns, {"role": "user", "content": exchange.turn.text}]
        said = without_reasoning(own.text, thought_end)
        if said.strip():
            turns.append({"role": "user", "content": exchange.turn.text})
            turns.append({"role": "assistant", "content": said})
    return turns


def begin(session: Session, reply_id: int) -> bool:
    """Mark a reply as being written; False if it was stopped meanwhile."""
    reply = _locked(session, reply_id)
    if reply.state != ReplyState.WAITING:
        return False
    reply.state = ReplyState.WRITING
    return True


def write(session: Session, reply_id: int, text: str, tokens: int) -> bool:
    """Store what is written so far; True if the person asked to stop."""
    reply = _locked(session, reply_id)
    reply.text, reply.tokens = job_leases.storable(text), tokens
    return reply.stop_requested


def finish(
    session: Session,
    reply_id: int,
    text: str,
    tokens: int,
    *,
    score: float | None = None,
    note: str = "",
) -> None:
    """Store a finished reply with its score."""
    reply = _locked(session, reply_id)
    reply.state = ReplyState.STOPPED if reply.stop_requested else ReplyState.DONE
    reply.text, reply.tokens = job_leases.storable(text), tokens
    reply.score, reply.note = score, note[:NOTE]
    reply.ended_at = now(session)


def fail(session: Session, reply_id: int, reason: str) -> None:
    """End a reply that could not be written."""
    reply = _locked(session, reply_id)
    reply.state, reply.note = ReplyState.FAILED, job_leases.storable(reason)[:NOTE]
    reply.ended_at = now(session)


def fail_all(session: Session, chat_id: int, reason: str) -> None:
    """End all replies that are due, because the models cannot be loaded."""
    while (reply := next_waiting(session, chat_id)) is not None:
        fail(session, reply.id, reason)
        session.flush()


def last_active(session: Session, chat: Chat) -> datetime:
    """Return when the person last wrote, or a reply last ended."""
    moments = [chat.created_at]
    for exchange in chats.exchanges(session, chat.id, last=1):
        moments.append(exchange.turn.created_at)
        moments += _ends(exchange.replies)
    return max(moments)


def other_work_waits(session: Session, job_id: int, *, waiting_s: float) -> bool:
    """Return whether the worker of this job could take another one, of any of its queues."""
    served = session.scalar(
        select(WorkerHeartbeat.queues)
        .join(Job, Job.worker == WorkerHeartbeat.name)
        .where(Job.id == job_id)
    )
    return job_leases.has_runnable(session, served or QUEUES, waiting_s=waiting_s)


def leave(session: Session, chat: Chat, note: str) -> None:
    """Note why the job ends; a message that came in the meantime gets a new job.

    The job must end in the same transaction.
    """
    session.refresh(chat, with_for_update=True)
    if chat.is_open and next_waiting(session, chat.id) is not None:
        chat.job_id = None
        chats.engage(session, chat)
    chat.note = note[:NOTE]
    session.flush()


def _ends(replies: Sequence[ModelReply]) -> list[datetime]:
    return [reply.ended_at for reply in replies if reply.ended_at is not None]


def _locked(session: Session, reply_id: int) -> ModelReply:
    return session.get_one(ModelReply, reply_id, with_for_update=True, populate_existing=True)
