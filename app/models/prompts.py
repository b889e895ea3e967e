"""Prompts with their tags and bulk edits, demonstrations, completions, and texts to index."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key
from app.domain.splits import Split

_WRITTEN = text("author_id IS NOT NULL")
_SAMPLED = text("checkpoint_id IS NOT NULL")


def _own_group(context: DefaultExecutionContext) -> str:
    """Return the group of a prompt of one user turn, which is the default."""
    parameters = context.get_current_parameters()  # type: ignore[no-untyped-call]
    return str(parameters["content_hash"])


class Prompt(Identified, Base):
    """A conversation of one or more turns that a completion responds to."""

    __tablename__ = "prompt"
    __table_args__ = (
        UniqueConstraint("project_id", "content_hash"),
        Index("ix_prompt_project_id_split", "project_id", "split", "id"),
        Index("ix_prompt_project_id_category", "project_id", "category", "id"),
        Index("ix_prompt_project_id_source", "project_id", "source", "id"),
        Index("ix_prompt_project_id_group_hash", "project_id", "group_hash"),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    messages: Mapped[list[dict[str, Any]]]  # [{"role": …, "content": …}], last a user turn
    follow_up: Mapped[list[str]] = mapped_column(default=list)  # later user turns (MT-Bench)
    split: Mapped[Split] = mapped_column(String(20))
    content_hash: Mapped[str] = mapped_column(String(64))
    # Of the beginning of the conversation; prompts with the same one share a split.
    group_hash: Mapped[str] = mapped_column(String(64), default=_own_group)
    # Declared an evaluation set at import: in the test split whatever the hash says.
    is_evaluation: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    source: Mapped[str] = mapped_column(String(120), default="")
    source_key: Mapped[str] = mapped_column(String(200), default="")
    category: Mapped[str] = mapped_column(String(120), default="", server_default="")  # "": none
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]


class PromptTag(Base):
    """A tag of a prompt."""

    __tablename__ = "prompt_tag"
    __table_args__ = (Index("ix_prompt_tag_project_id_tag", "project_id", "tag", "prompt_id"),)

    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(60), primary_key=True)
    project_id: Mapped[int] = mapped_column(Key)  # a copy of the prompt's


FRESH_KEYS = "fresh-"
"""Prefix of the source keys of responses that are only there to watch the training of a policy."""


class PromptEdit(Identified, Base):
    """A category or tag that was set on, or removed from, many prompts at once."""

    __tablename__ = "prompt_edit"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    action: Mapped[str] = mapped_column(String(20))  # tag, untag, categorize
    value: Mapped[str] = mapped_column(String(120))
    prompts: Mapped[int]  # how many it changed
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]
    undone_at: Mapped[datetime | None]


class PromptEditItem(Base):
    """A prompt that a bulk edit changed, and its category before."""

    __tablename__ = "prompt_edit_item"

    edit_id: Mapped[int] = mapped_column(ForeignKey("prompt_edit.id"), primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), primary_key=True)
    category_before: Mapped[str] = mapped_column(String(120), default="")


class Demonstration(Identified, Base):
    """A good response to a prompt, written by a person."""

    __tablename__ = "demonstration"
    __table_args__ = (UniqueConstraint("prompt_id", "content_hash"),)

    project_id: Mapped[int] = mapped_column(Key, index=True)  # a copy of the prompt's
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    text: Mapped[str]
    content_hash: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(120), default="")
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]


class Completion(Identified, Base):
    """A completion and its origin; the natural key keeps a rerun from duplicating it."""

    __tablename__ = "completion"
    __table_args__ = (
        UniqueConstraint("prompt_id", "source_key", "sample_index"),
        Index(
            "ix_completion_checkpoint_id",
            "checkpoint_id",
            sqlite_where=_SAMPLED,
            postgresql_where=_SAMPLED,
        ),
        Index("ix_completion_project_id_source", "project_id", "source"),
        Index(
            "ix_completion_author",
            "author_id",
            sqlite_where=_WRITTEN,
            postgresql_where=_WRITTEN,
        ),
    )

    project_id: Mapped[int] = mapped_column(Key)  # a copy of the prompt's
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoint.id"))
    source: Mapped[str] = mapped_column(String(120))  # shown to leads: "SFT 1", "gpt-x", "edit"
    source_key: Mapped[str] = mapped_column(String(160))  # checkpoint and sampling, or import hash
    sample_index: Mapped[int]
    # Responses to earlier turns, each with the follow-up then asked; `text` responds to the last.
    earlier: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default=text("'[]'"))
    text: Mapped[str]
    token_ids: Mapped[list[int] | None]  # as sampled, for training; None for imported text
    is_finished: Mapped[bool] = mapped_column(default=True)
    finish_reason: Mapped[str] = mapped_column(String(20), default="")
    logprob_sum: Mapped[float | None]  # nats
    sampling: Mapped[dict[str, Any]] = mapped_column(default=dict)
    instruction_version: Mapped[int] = mapped_column(default=0, server_default="0")  # 0: unknown
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]


class UnindexedTexts(Identified, Base):
    """Prompts or completions whose words are not indexed yet: those between two ids, inclusive."""

    __tablename__ = "unindexed_texts"
    __table_args__ = (Index("ix_unindexed_texts_kind", "kind", "first_id"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))  # prompt or completion
    first_id: Mapped[int] = mapped_column(Key)
    last_id: Mapped[int] = mapped_column(Key)
