"""Chats of a lead with one or two models: what was said, and the responses as they are written."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key


class ReplyState(StrEnum):
    """How far a response in a chat is."""

    WAITING = "waiting"
    WRITING = "writing"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class Chat(Identified, Base):
    """A conversation with one or two models; at most one of a person is open in a project."""

    __tablename__ = "chat"
    __table_args__ = (Index("ix_chat_open", "project_id", "user_id", "is_open"),)

    project_id: Mapped[int] = mapped_column(Key, ForeignKey("project.id"))
    user_id: Mapped[int] = mapped_column(Key, ForeignKey("user.id"))
    first_id: Mapped[int] = mapped_column(Key, ForeignKey("checkpoint.id"))
    second_id: Mapped[int | None] = mapped_column(Key, ForeignKey("checkpoint.id"))
    reward_id: Mapped[int | None] = mapped_column(Key, ForeignKey("checkpoint.id"))
    instruction: Mapped[str]  # in the system turn; empty if it is switched off
    sampling: Mapped[dict[str, Any]]
    job_id: Mapped[int | None] = mapped_column(Key, ForeignKey("job.id"))  # the newest
    is_open: Mapped[bool] = mapped_column(default=True)
    note: Mapped[str] = mapped_column(String(300), default="")  # why its job ended
    created_at: Mapped[datetime]


class ChatTurn(Identified, Base):
    """What the person wrote."""

    __tablename__ = "chat_turn"
    __table_args__ = (UniqueConstraint("chat_id", "n"),)

    chat_id: Mapped[int] = mapped_column(Key, ForeignKey("chat.id"))
    n: Mapped[int]
    text: Mapped[str]
    created_at: Mapped[datetime]


class ModelReply(Identified, Base):
    """The response of one side to a turn, as far as it is written."""

    __tablename__ = "chat_reply"
    __table_args__ = (UniqueConstraint("turn_id", "side"),)

    turn_id: Mapped[int] = mapped_column(Key, ForeignKey("chat_turn.id"))
    side: Mapped[int]  # 0 or 1
    draw: Mapped[int] = mapped_column(default=0)  # how often it was generated anew; seeds it
    state: Mapped[ReplyState] = mapped_column(String(20), default=ReplyState.WAITING)
    text: Mapped[str] = mapped_column(default="")
    tokens: Mapped[int] = mapped_column(default=0)
    score: Mapped[float | None]
    note: Mapped[str] = mapped_column(String(300), default="")
    stop_requested: Mapped[bool] = mapped_column(default=False)
    ended_at: Mapped[datetime | None]
