"""Holds the models of a chat in memory and replies, until nobody writes or other work waits.

Replies are rows that the page reads as they grow. The job makes way for other jobs of its worker as
soon as nothing is left to reply to, and after ten minutes even if there is.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from app.db import now
from app.domain.chat_settings import ChatSettings
from app.domain.plan import Sampling
from app.errors import AttuneError
from app.models import Chat, Checkpoint, Project
from app.services.checkpoints import chat_replies, checkpoints
from worker.orders import Interrupted
from worker.runs.data import chat_models
from worker.runs.data.chat_models import ChatModels, WrittenReply
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext

IDLE_S: Final = 180
POLL_S: Final = 0.2
STREAM_S: Final = 0.3
WAITING_S: Final = 2.0
HELD_S: Final = 600
IDLE_NOTE: Final = "The models were unloaded after 3 minutes without a message."
OTHERS_NOTE: Final = "The models were unloaded because another job was waiting for the worker."


@dataclass(frozen=True, slots=True)
class ChatTask:
    """The chat with its models."""

    chat: Chat
    sides: tuple[Checkpoint, ...]
    reward: Checkpoint | None
    sampling: Sampling
    settings: ChatSettings


@dataclass(frozen=True, slots=True)
class DueReply:
    """A reply to write: what was said before it, and what its random numbers depend on."""

    id: int
    side: int
    seed: int
    messages: tuple[Mapping[str, Any], ...]


def run(context: JobContext) -> None:
    """Reply until the chat is idle, ended, or others wait."""
    with transactions.transaction(context) as session:
        task = _read(session, int(context.payload["chat_id"]))
        chat_replies.restart(session, task.chat.id)
    context.report(0, 0, "loading the models")
    try:
        models = chat_models.load(
            context, task.sides, task.reward, task.chat.instruction, task.settings
        )
    except (AttuneError, OSError, ValueError) as error:
        reason = f"the models cannot be loaded: {error}"
        with transactions.transaction(context) as session:
            chat_replies.fail_all(session, task.chat.id, reason)
        raise
    replied, since = 0, time.monotonic()
    while (note := _why_end(context, task, since)) is None:
        due = _next(context, task)
        if due is None:
            time.sleep(POLL_S)
            continue
        context.report(replied, replied + 1, "replying")
        _reply(context, task, models, due)
        replied += 1
    _leave(context, task, note, replied)


def _leave(context: JobContext, task: ChatTask, note: str, replied: int) -> None:
    def finish(session: Session) -> Mapping[str, Any]:
        chat_replies.leave(session, session.get_one(Chat, task.chat.id), note)
        return {"replies": replied, "ended": note}

    context.succeed(finish)


def _why_end(context: JobContext, task: ChatTask, since: float) -> str | None:
    """Return the reason to unload the models, or None.

    Raises:
        Interrupted: the job is cancelled, or its worker shuts down.
    """
    order = context.should_stop()
    if order in {"cancel", "preempt"}:
        raise Interrupted(f"{context.title} was asked to stop")
    with context.database.reader() as session:
        chat = session.get_one(Chat, task.chat.id)
        if not chat.is_open or order == "stop_here":
            return "The chat was ended."
        is_due = chat_replies.next_waiting(session, chat.id) is not None
        if is_due and time.monotonic() - since < HELD_S:
            return None
        if chat_replies.other_work_waits(session, context.job_id, waiting_s=WAITING_S):
            return OTHERS_NOTE
        if is_due:
            return None
        idle = now(session) - chat_replies.last_active(session, chat)
        return IDLE_NOTE if idle > timedelta(seconds=IDLE_S) else None


def _next(context: JobContext, task: ChatTask) -> DueReply | None:
    with context.database.reader() as session:
        reply = chat_replies.next_waiting(session, task.chat.id)
        if reply is None:
            return None
        mark = task.settings.thought_end
        said = chat_replies.messages(session, task.chat.id, reply, thought_end=mark)
        # Both sides draw with the same numbers, so that equal models say the same.
        seed = 1_000_003 * reply.draw + reply.turn_id
        return DueReply(reply.id, reply.side, seed, tuple(said))


def _reply(context: JobContext, task: ChatTask, models: ChatModels, due: DueReply) -> None:
    """Write one reply and its score; what is wrong with the conversation is said in it."""
    with transactions.transaction(context) as session:
        if not chat_replies.begin(session, due.id):
            return
    shown_at = time.monotonic()

    def show(text: str, tokens: int) -> bool:
        nonlocal shown_at
        if time.monotonic() - shown_at < STREAM_S:
            return False
        shown_at = time.monotonic()
        if context.should_stop() is not None:
            return True
        with transactions.transaction(context) as session:
            return chat_replies.write(session, due.id, text, tokens)

    try:
        written: WrittenReply = models.write(due.side, due.messages, task.sampling, due.seed, show)
    except (AttuneError, ValueError) as error:
        with transactions.transaction(context) as session:
            chat_replies.fail(session, due.id, str(error))
        return
    if context.should_stop() in {"cancel", "preempt"}:
        raise Interrupted(f"{context.title} was asked to stop")
    with transactions.transaction(context) as session:
        chat_replies.finish(
            session, due.id, written.text, written.tokens, score=written.score, note=written.note
        )


def _read(session: Session, chat_id: int) -> ChatTask:
    chat = session.get_one(Chat, chat_id)
    project = session.get_one(Project, chat.project_id)
    sides = [
        checkpoints.get(session, project.id, model_id)
        for model_id in (chat.first_id, chat.second_id)
        if model_id is not None
    ]
    reward = None
    if chat.reward_id is not None:
        reward = checkpoints.get(session, project.id, chat.reward_id)
    settings = ChatSettings.from_json(project.chat)
    return ChatTask(chat, tuple(sides), reward, Sampling(**chat.sampling), settings)
