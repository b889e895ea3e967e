"""Chat: a conversation with one or two models, streamed while a worker writes it.

The page works without a script: it is reloaded while a reply grows. With one, the newest exchange
follows by server-sent events, or by polling where those do not come through.
"""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Final

import anyio
from fastapi import Form, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import format_sse_event
from sqlalchemy.orm import Session
from starlette.responses import StreamingResponse

from app.domain.chat_settings import without_reasoning
from app.domain.plan import Sampling
from app.errors import AttuneError, TooMany
from app.models import Chat, Checkpoint
from app.services.checkpoints import chats, checkpoints
from app.services.checkpoints.chats import ChatExchange, ChatSetup
from app.web import addresses
from app.web.deps import LeadAccess, ProjectAccess, database
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()

TICK_S: Final = 0.4
LONGEST_S: Final = 300  # then the browser connects again
STREAMS_MOST: Final = 12
"""Streams that one person has open on a server; a browser opens six, and other pages ask anew."""
STATES: Final = {
    "waiting": "waiting",
    "writing": "writing …",
    "stopped": "stopped",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class ChatLive:
    """The newest exchange, and what it waits for."""

    names: tuple[str, ...]
    last: ChatExchange | None
    waits_for: str
    note: str
    thought_end: str

    def reasoning(self, text: str) -> str:
        """Return what a response has before its end-of-reasoning mark; empty without one."""
        mark = self.thought_end
        return text.rpartition(mark)[0].strip() if mark else ""

    def shown(self, text: str) -> str:
        """Return a response without its reasoning."""
        return without_reasoning(text, self.thought_end)

    @property
    def is_live(self) -> bool:
        """Whether a reply is still to come."""
        return self.last is not None and self.last.is_live

    @property
    def states(self) -> dict[str, str]:
        """The words for the states of a reply."""
        return STATES


@dataclass(frozen=True, slots=True)
class ChatPage:
    """The open chat, or the form to start one."""

    chat: Chat | None
    live: ChatLive | None
    earlier: list[ChatExchange]
    reward: Checkpoint | None
    writers: list[Checkpoint]
    scorers: list[Checkpoint]
    instruction: str
    chosen: int
    text: str = ""
    error: str = ""


@router.get("/p/{slug}/chat")
def show(
    request: Request,
    access: LeadAccess,
    model: Annotated[int, Query()] = 0,
    new: Annotated[bool, Query()] = False,
) -> Response:
    """Show the open chat, or the form to start one."""
    return render(request, "chat/page.html", _page(access, model=model, new=new or model > 0))


@router.post("/p/{slug}/chat")
def start(
    request: Request,
    access: LeadAccess,
    first: Annotated[int, Form()],
    second: Annotated[int, Form()] = 0,
    reward: Annotated[int, Form()] = 0,
    instruction: Annotated[bool, Form()] = False,
    temperature: Annotated[float, Form()] = 1.0,
    top_p: Annotated[float, Form()] = 1.0,
    top_k: Annotated[int, Form()] = 0,
    max_new_tokens: Annotated[int, Form()] = 256,
) -> Response:
    """Start a chat; the one that was open ends."""
    try:
        sampling = Sampling(temperature, top_p, top_k, max_new_tokens)
        setup = ChatSetup(first, second or None, reward or None, instruction, sampling)
        chats.start(
            access.session, access.project, access.user.id, setup, access.project.instruction
        )
    except AttuneError as error:
        page = _page(access, model=first, new=True, error=str(error))
        return render(request, "chat/page.html", page, status=422)
    return redirect(request, _address(access))


@router.post("/p/{slug}/chat/{chat_id}/say")
def say(
    request: Request, access: LeadAccess, chat_id: RowId, text: Annotated[str, Form()] = ""
) -> Response:
    """Send a message to the models."""
    chat = _chat(access, chat_id)
    try:
        chats.say(access.session, chat, text)
    except AttuneError as error:
        page = _page(access, text=text, error=str(error))
        return render(request, "chat/page.html", page, status=422)
    return redirect(request, _address(access))


@router.post("/p/{slug}/chat/{chat_id}/again")
def again(request: Request, access: LeadAccess, chat_id: RowId) -> Response:
    """Generate the last replies again."""
    try:
        chats.again(access.session, _chat(access, chat_id))
    except AttuneError as error:
        page = _page(access, error=str(error))
        return render(request, "chat/page.html", page, status=409)
    return redirect(request, _address(access))


@router.post("/p/{slug}/chat/{chat_id}/stop")
def stop(request: Request, access: LeadAccess, chat_id: RowId) -> Response:
    """Stop the replies that are being written."""
    chats.stop(access.session, _chat(access, chat_id))
    return redirect(request, _address(access))


@router.post("/p/{slug}/chat/{chat_id}/end")
def end(request: Request, access: LeadAccess, chat_id: RowId) -> Response:
    """End the chat, so that its worker is free."""
    chats.end(access.session, _chat(access, chat_id))
    return redirect(request, _address(access), notice="The chat has ended.")


@router.get("/p/{slug}/chat/{chat_id}/live")
def live(request: Request, access: LeadAccess, chat_id: RowId) -> Response:
    """Return the newest exchange."""
    page = _live(access.session, _chat(access, chat_id))
    return render(request, "chat/_live.html", page, fragment=True)


@router.get("/p/{slug}/chat/{chat_id}/events")
def events(request: Request, access: LeadAccess, chat_id: RowId) -> Response:
    """Send the newest exchange whenever it changes, until its replies have ended."""
    _chat(access, chat_id)
    if request.app.state.streams[access.user.id] >= STREAMS_MOST:
        raise TooMany(
            f"you have {STREAMS_MOST} streams of chats open; close a page, or ask without a stream",
            retry_after_s=LONGEST_S,
        )
    # The session ends with this function; the stream reads in short sessions of its own.
    key = (access.project.id, access.user.id, chat_id)
    return StreamingResponse(_stream(request, key), media_type="text/event-stream")


async def _stream(request: Request, key: tuple[int, int, int]) -> AsyncIterator[bytes]:
    shown = ""
    streams: Counter[int] = request.app.state.streams
    _project_id, user_id, _chat_id = key
    streams[user_id] += 1
    try:
        with anyio.move_on_after(LONGEST_S):
            while True:
                html, is_live = await run_in_threadpool(_fragment, request, key)
                if html != shown:
                    shown = html
                    yield format_sse_event(event="live", data_str=html)
                if not is_live:
                    break
                await anyio.sleep(TICK_S)
    finally:
        streams[user_id] -= 1
    yield format_sse_event(event="done", data_str="")


def _fragment(request: Request, key: tuple[int, int, int]) -> tuple[str, bool]:
    with database(request).reader() as session:
        page = _live(session, chats.get(session, *key))
        html = render(request, "chat/_live.html", page, fragment=True).body
        return bytes(html).decode(), page.is_live


def _live(session: Session, chat: Chat) -> ChatLive:
    last = chats.exchanges(session, chat.id, last=1)
    return ChatLive(
        _names(session, chat),
        last[0] if last else None,
        chats.waits_for(session, chat),
        chat.note,
        chats.thought_end(session, chat),
    )


def _names(session: Session, chat: Chat) -> tuple[str, ...]:
    ids = [chat.first_id] if chat.second_id is None else [chat.first_id, chat.second_id]
    return tuple(checkpoints.get(session, chat.project_id, model_id).name for model_id in ids)


def _chat(access: ProjectAccess, chat_id: int) -> Chat:
    return chats.get(access.session, access.project.id, access.user.id, chat_id)


def _page(
    access: ProjectAccess,
    *,
    model: int = 0,
    new: bool = False,
    text: str = "",
    error: str = "",
) -> ChatPage:
    session, project = access.session, access.project
    chat = None if new else chats.current(session, project.id, access.user.id)
    reward = None
    if chat is not None and chat.reward_id is not None:
        reward = checkpoints.get(session, project.id, chat.reward_id)
    return ChatPage(
        chat,
        None if chat is None else _live(session, chat),
        [] if chat is None else chats.exchanges(session, chat.id)[:-1],
        reward,
        chats.writers(session, project.id),
        chats.scorers(session, project.id),
        project.instruction,
        model,
        text,
        error,
    )


def _address(access: ProjectAccess) -> str:
    return addresses.path("chat.show", slug=access.project.slug)
