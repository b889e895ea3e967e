"""Chats with models: started, continued and read by the person who has them."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.domain.plan import Sampling
from app.models import Chat
from app.services.checkpoints import chats
from app.services.checkpoints.chats import ChatSetup
from app.web.deps import LeadAccess, ProjectAccess
from app.web.guarded_route import GuardedRoute
from app.web.openapi import problems
from app.web.row_ids import RowId

router = APIRouter(prefix="/api/v1/projects/{slug}/chats", tags=["chats"], route_class=GuardedRoute)


class ChatIn(BaseModel):
    """Who replies, who scores, and how responses are sampled."""

    first_id: int
    second_id: int | None = None
    reward_id: int | None = None
    uses_instruction: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256


class MessageIn(BaseModel):
    """A message to the models."""

    text: str = Field(max_length=chats.MOST_CHARACTERS)


class ReplyOut(BaseModel):
    """The response of one side, as far as it is written."""

    side: int
    state: str
    text: str
    tokens: int
    score: float | None
    note: str


class ChatExchangeOut(BaseModel):
    """A message with the replies to it."""

    text: str
    replies: list[ReplyOut]


class ChatOut(BaseModel):
    """A chat with all that was said."""

    id: int
    is_open: bool
    first_id: int
    second_id: int | None
    reward_id: int | None
    job_id: int | None
    waits_for: str
    note: str
    created_at: datetime
    exchanges: list[ChatExchangeOut]


@router.post("", status_code=201)
def start(access: LeadAccess, body: ChatIn) -> ChatOut:
    """Start a chat; the one that you had open in the project ends."""
    sampling = Sampling(body.temperature, body.top_p, body.top_k, body.max_new_tokens)
    setup = ChatSetup(
        body.first_id, body.second_id, body.reward_id, body.uses_instruction, sampling
    )
    project = access.project
    chat = chats.start(access.session, project, access.user.id, setup, project.instruction)
    return _out(access, chat)


@router.get("/{chat_id}")
def show(access: LeadAccess, chat_id: RowId) -> ChatOut:
    """Return a chat of yours; poll it while a reply is being written."""
    return _out(access, _chat(access, chat_id))


@router.post("/{chat_id}/messages", status_code=202, responses=problems(429))
def say(access: LeadAccess, chat_id: RowId, body: MessageIn) -> ChatOut:
    """Send a message to the models."""
    chat = _chat(access, chat_id)
    chats.say(access.session, chat, body.text)
    return _out(access, chat)


@router.post("/{chat_id}/again", status_code=202, responses=problems(429))
def again(access: LeadAccess, chat_id: RowId) -> ChatOut:
    """Generate the last replies again."""
    chat = _chat(access, chat_id)
    chats.again(access.session, chat)
    return _out(access, chat)


@router.post("/{chat_id}/stop")
def stop(access: LeadAccess, chat_id: RowId) -> ChatOut:
    """Stop the replies that are being written."""
    chat = _chat(access, chat_id)
    chats.stop(access.session, chat)
    return _out(access, chat)


@router.delete("/{chat_id}")
def end(access: LeadAccess, chat_id: RowId) -> ChatOut:
    """End a chat, so that its worker is free; what was said stays readable."""
    chat = _chat(access, chat_id)
    chats.end(access.session, chat)
    return _out(access, chat)


def _chat(access: ProjectAccess, chat_id: int) -> Chat:
    return chats.get(access.session, access.project.id, access.user.id, chat_id)


def _out(access: ProjectAccess, chat: Chat) -> ChatOut:
    return ChatOut(
        id=chat.id,
        is_open=chat.is_open,
        first_id=chat.first_id,
        second_id=chat.second_id,
        reward_id=chat.reward_id,
        job_id=chat.job_id,
        waits_for=chats.waits_for(access.session, chat),
        note=chat.note,
        created_at=chat.created_at,
        exchanges=[
            ChatExchangeOut(
                text=exchange.turn.text,
                replies=[
                    ReplyOut(
                        side=reply.side,
                        state=reply.state,
                        text=reply.text,
                        tokens=reply.tokens,
                        score=reply.score,
                        note=reply.note,
                    )
                    for reply in exchange.replies
                ],
            )
            for exchange in chats.exchanges(access.session, chat.id)
        ],
    )
