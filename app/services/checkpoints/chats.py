"""Chats with models as leads see them: started, continued, stopped, ended.

Nothing is computed here. Each message leaves a waiting reply per side, and a job that writes them
(`chat_replies`) holds the models for as long as somebody chats. A chat is readable only by the
person who has it, within its project.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.chat_settings import ChatSettings
from app.domain.plan import Sampling
from app.domain.states import OVER_JOB_STATES
from app.errors import Conflict, Invalid, NotFound, TooMany
from app.models import (
    Chat,
    ChatTurn,
    Checkpoint,
    CheckpointKind,
    Job,
    ModelReply,
    Project,
    ReplyState,
    User,
)
from app.services.checkpoints import checkpoints
from app.services.jobs import job_leases, job_waits, jobs

KIND: Final = "chat"
QUEUE: Final = "gpu"
MOST_CHARACTERS: Final = 20_000
MOST_TURNS: Final = 100
MOST_TOKENS: Final = 2048
MESSAGES_A_MINUTE: Final = 20
LIVE: Final = (ReplyState.WAITING, ReplyState.WRITING)


@dataclass(frozen=True, slots=True)
class ChatSetup:
    """Who answers, who scores, and how responses are sampled."""

    first_id: int
    second_id: int | None = None
    reward_id: int | None = None
    uses_instruction: bool = True
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=256))


@dataclass(frozen=True, slots=True)
class ChatExchange:
    """A message with the replies to it, in the order of the sides."""

    turn: ChatTurn
    replies: tuple[ModelReply, ...]

    @property
    def is_live(self) -> bool:
        """Whether a reply is still to be written or finished."""
        return any(reply.state in LIVE for reply in self.replies)


def writers(session: Session, project_id: int) -> list[Checkpoint]:
    """Return the models that can chat, newest first."""
    return [one for one in _ready(session, project_id) if one.kind != CheckpointKind.REWARD]


def scorers(session: Session, project_id: int) -> list[Checkpoint]:
    """Return the reward models that can score responses, newest first."""
    return [one for one in _ready(session, project_id) if one.kind == CheckpointKind.REWARD]


def start(
    session: Session, project: Project, user_id: int, setup: ChatSetup, instruction: str
) -> Chat:
    """Start a chat, and end the one that the person has open in the project.

    Raises:
        Invalid: a model cannot take the part, or the responses would be too long.
        NotFound: the project has no such model.
    """
    for model_id in filter(None, (setup.first_id, setup.second_id)):
        _require(session, project, model_id, is_reward=False)
    if setup.reward_id is not None:
        _require(session, project, setup.reward_id, is_reward=True)
    if setup.sampling.max_new_tokens > MOST_TOKENS:
        raise Invalid(
            f"responses in a chat have up to {MOST_TOKENS} tokens, not "
            f"{setup.sampling.max_new_tokens}"
        )
    # Two chats that start at the same moment would otherwise both stay open.
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    opened = current(session, project.id, user_id)
    if opened is not None:
        end(session, opened)
    chat = Chat(
        project_id=project.id,
        user_id=user_id,
        first_id=setup.first_id,
        second_id=setup.second_id,
        reward_id=setup.reward_id,
        instruction=instruction if setup.uses_instruction else "",
        sampling=asdict(setup.sampling),
        created_at=now(session),
    )
    session.add(chat)
    session.flush()
    return chat


def current(session: Session, project_id: int, user_id: int) -> Chat | None:
    """Return the open chat of a person in a project, if there is one."""
    query = select(Chat).where(
        Chat.project_id == project_id, Chat.user_id == user_id, Chat.is_open.is_(True)
    )
    return session.scalar(query.order_by(Chat.id.desc()).limit(1))


def get(session: Session, project_id: int, user_id: int, chat_id: int) -> Chat:
    """Return a chat of the person in the project.

    Raises:
        NotFound: there is none; that somebody else has it is not revealed.
    """
    chat = session.get(Chat, chat_id)
    if chat is None or chat.project_id != project_id or chat.user_id != user_id:
        raise NotFound(f"you have no chat {chat_id} in this project")
    return chat


def exchanges(session: Session, chat_id: int, *, last: int | None = None) -> list[ChatExchange]:
    """Return the messages with their replies, oldest first; with `last`, only the newest."""
    query = select(ChatTurn).where(ChatTurn.chat_id == chat_id).order_by(ChatTurn.n.desc())
    turns = list(session.scalars(query.limit(last)))[::-1]
    replies = session.scalars(
        select(ModelReply)
        .where(ModelReply.turn_id.in_([turn.id for turn in turns]))
        .order_by(ModelReply.turn_id, ModelReply.side)
    ).all()
    return [
        ChatExchange(turn, tuple(reply for reply in replies if reply.turn_id == turn.id))
        for turn in turns
    ]


def say(session: Session, chat: Chat, text: str) -> ChatTurn:
    """Add a message, and have every side reply to it.

    Raises:
        Invalid: the message is empty or too long.
        Conflict: the chat is over or full, or the sides are still replying.
        TooMany: too many messages in a minute.
    """
    lock(session, chat)
    text = job_leases.storable(text.replace("\r\n", "\n")).strip()
    if not text:
        raise Invalid("the message is empty")
    if len(text) > MOST_CHARACTERS:
        raise Invalid(f"a message has up to {MOST_CHARACTERS:,} characters, not {len(text):,}")
    _refuse_busy(session, chat)
    said = exchanges(session, chat.id, last=1)
    n = said[0].turn.n + 1 if said else 0
    if n >= MOST_TURNS:
        raise Conflict(f"this chat has {MOST_TURNS} messages; start a new one")
    _refuse_haste(session, chat.user_id)
    turn = ChatTurn(chat_id=chat.id, n=n, text=text, created_at=now(session))
    session.add(turn)
    session.flush()
    sides = 1 if chat.second_id is None else 2
    session.add_all(ModelReply(turn_id=turn.id, side=side) for side in range(sides))
    engage(session, chat)
    return turn


def again(session: Session, chat: Chat) -> None:
    """Have the replies to the last message generated anew, with other random numbers.

    Raises:
        Conflict: nothing was said yet, or the sides are still replying.
        TooMany: too many messages in a minute.
    """
    lock(session, chat)
    _refuse_busy(session, chat)
    said = exchanges(session, chat.id, last=1)
    if not said:
        raise Conflict("nothing was said yet")
    _refuse_haste(session, chat.user_id)
    said[0].turn.created_at = now(session)
    for reply in said[0].replies:
        reply.draw += 1
        reply.state, reply.text, reply.tokens = ReplyState.WAITING, "", 0
        reply.score, reply.note, reply.ended_at = None, "", None
        reply.stop_requested = False
    engage(session, chat)


def stop(session: Session, chat: Chat) -> None:
    """Stop the replies that are being written; what is written stays."""
    for exchange in exchanges(session, chat.id, last=1):
        for reply in exchange.replies:
            session.refresh(reply, with_for_update=True)  # a worker may just have begun it
            if reply.state == ReplyState.WAITING:
                reply.state = ReplyState.STOPPED
            elif reply.state == ReplyState.WRITING:
                reply.stop_requested = True
    session.flush()


def end(session: Session, chat: Chat) -> None:
    """End a chat, so that its worker is free."""
    job = None if chat.job_id is None else jobs.get(session, chat.job_id)
    if job is not None and job.state not in OVER_JOB_STATES:
        jobs.cancel(session, job.id, actor_id=chat.user_id)  # first: its worker locks it first
    stop(session, chat)
    chat.is_open = False
    session.flush()


def engage(session: Session, chat: Chat) -> None:
    """Enqueue a job that replies, unless one has the chat already."""
    job = None if chat.job_id is None else jobs.get(session, chat.job_id)
    if job is None or job.state in OVER_JOB_STATES:
        made = jobs.enqueue(
            session,
            kind=KIND,
            queue=QUEUE,
            payload={"chat_id": chat.id},
            project_id=chat.project_id,
            created_by_id=chat.user_id,
            max_attempts=2,
        )
        chat.job_id, chat.note = made.id, ""
    session.flush()


def lock(session: Session, chat: Chat) -> None:
    """Lock a chat until the transaction ends: a message and the end of its job exclude each other.

    Raises:
        Conflict: it was ended.
    """
    session.refresh(chat, with_for_update=True)
    if not chat.is_open:
        raise Conflict("this chat has ended; start a new one")


def thought_end(session: Session, chat: Chat) -> str:
    """Return the mark that ends the reasoning of responses in the chat's project."""
    project = session.get_one(Project, chat.project_id)
    return ChatSettings.from_json(project.chat).thought_end


def waits_for(session: Session, chat: Chat) -> str:
    """Return why the replies are not being written yet; empty if they are, or none is due."""
    job = None if chat.job_id is None else session.get(Job, chat.job_id)
    if job is None:
        return ""
    if job.state in OVER_JOB_STATES:
        return f"The job that replies has {job.state}: {job.error}" if job.error else ""
    return job_waits.why(session, job)


def _ready(session: Session, project_id: int) -> Sequence[Checkpoint]:
    return [one for one in checkpoints.of_project(session, project_id) if one.state == "ready"]


def _require(session: Session, project: Project, model_id: int, *, is_reward: bool) -> None:
    model = checkpoints.get(session, project.id, model_id)
    if (model.kind == CheckpointKind.REWARD) != is_reward:
        part = "score responses" if is_reward else "chat"
        raise Invalid(f"{model.name} is a {model.kind} model; it cannot {part}")
    if model.state != "ready":
        raise Invalid(f"{model.name} is {model.state}; only ready models can be used")


def _refuse_busy(session: Session, chat: Chat) -> None:
    if any(one.is_live for one in exchanges(session, chat.id, last=1)):
        raise Conflict("the last message is still being replied to; wait, or stop it")


def _refuse_haste(session: Session, user_id: int) -> None:
    since = now(session) - timedelta(minutes=1)
    query = (
        select(func.count())
        .select_from(ChatTurn)
        .join(Chat, Chat.id == ChatTurn.chat_id)
        .where(Chat.user_id == user_id, ChatTurn.created_at > since)
    )
    if (session.scalar(query) or 0) >= MESSAGES_A_MINUTE:
        raise TooMany(f"up to {MESSAGES_A_MINUTE} messages a minute", 60)
