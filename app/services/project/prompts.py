"""Prompts and demonstrations: stored once by content, split for good.

Reading files is up to the formats; what else a file may hold is up to `imports`. Lists are in
`prompt_search`, categories and tags in `prompt_labels`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import prompt_labels, splits
from app.domain.prompt_labels import PromptLabels
from app.errors import Invalid, NotFound
from app.models import Completion, Demonstration, Project, Prompt, Split

Turn = tuple[str, str]


@dataclass(frozen=True, slots=True)
class NewPrompt:
    """A prompt to store; `follow_up` are user turns asked after the model's own response."""

    turns: tuple[Turn, ...]
    follow_up: tuple[str, ...] = ()
    source: str = ""
    source_key: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> PromptLabels:
        """The category and tags in the notes."""
        return prompt_labels.of_notes(self.meta)

    @property
    def content_hash(self) -> str:
        """The hash that identifies the prompt and decides its split."""
        return splits.content_hash([*self.turns, *(("user", text) for text in self.follow_up)])


@dataclass(frozen=True, slots=True)
class Added:
    """The stored prompts in the order given, and how many of them are new."""

    prompts: tuple[Prompt, ...]
    new: int


def add(
    session: Session,
    project: Project,
    new_prompts: Sequence[NewPrompt],
    *,
    author_id: int | None = None,
) -> Added:
    """Store prompts; those with the same content are one prompt."""
    hashes = [new_prompt.content_hash for new_prompt in new_prompts]
    known = _by_hash(session, project.id, hashes)
    moment = now(session)
    shares = shares_of(project)
    added = 0
    for new_prompt, digest in zip(new_prompts, hashes, strict=True):
        if digest in known:
            continue
        known[digest] = Prompt(
            project_id=project.id,
            messages=[{"role": role, "content": content} for role, content in new_prompt.turns],
            follow_up=list(new_prompt.follow_up),
            split=Split(splits.split_of(digest, shares)),
            content_hash=digest,
            source=new_prompt.source[:120],
            source_key=new_prompt.source_key[:200],
            category=new_prompt.labels.category,
            meta=dict(new_prompt.meta),
            author_id=author_id,
            created_at=moment,
        )
        session.add(known[digest])
        added += 1
    session.flush()
    return Added(tuple(known[digest] for digest in hashes), added)


def add_demonstrations(
    session: Session,
    responses: Sequence[tuple[Prompt, str]],
    *,
    source: str = "",
    author_id: int | None = None,
) -> int:
    """Store demonstrations of prompts; return how many are new."""
    keys = [(prompt.id, text_hash(text)) for prompt, text in responses]
    query = select(Demonstration.prompt_id, Demonstration.content_hash).where(
        Demonstration.prompt_id.in_({prompt_id for prompt_id, _ in keys})
    )
    seen = {(row.prompt_id, row.content_hash) for row in session.execute(query)}
    moment = now(session)
    added = 0
    for (prompt, text), key in zip(responses, keys, strict=True):
        if key in seen:
            continue
        seen.add(key)
        added += 1
        session.add(
            Demonstration(
                project_id=prompt.project_id,
                prompt_id=prompt.id,
                text=text,
                content_hash=key[1],
                source=source[:120],
                author_id=author_id,
                created_at=moment,
            )
        )
    session.flush()
    return added


def asked_in_steps(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
    """Split a conversation where two user turns meet: what is asked now, and what is asked later.

    Raises:
        Invalid: a turn of somebody else follows such a place.
    """
    for at in range(1, len(turns)):
        if turns[at - 1][0] == turns[at][0] == "user":
            later = turns[at:]
            if any(role != "user" for role, _ in later):
                raise Invalid(
                    f"turn {at + 1} is asked after the model's own response, so only user "
                    f"turns may follow"
                )
            return tuple(turns[:at]), tuple(content for _, content in later)
    return tuple(turns), ()


def shares_of(project: Project) -> splits.Shares:
    """Return the shares of a project's splits; they are fixed once it has prompts."""
    stored = project.settings.get("split_shares")
    return splits.Shares(*stored) if stored else splits.Shares()


def set_shares(session: Session, project: Project, shares: splits.Shares) -> None:
    """Set the shares of the splits.

    Raises:
        Invalid: the project has prompts, which must stay in their splits.
    """
    chosen = [shares.train, shares.validation, shares.test]
    if shares == shares_of(project):
        return
    if sum(counts(session, project.id).values()):
        raise Invalid("the split shares cannot change once the project has prompts")
    project.settings = {**project.settings, "split_shares": chosen}


def counts(session: Session, project_id: int) -> dict[Split, int]:
    """Count the prompts of each split."""
    query = select(Prompt.split, func.count()).where(Prompt.project_id == project_id)
    by_split = {Split(name): count for name, count in session.execute(query.group_by(Prompt.split))}
    return {split: by_split.get(split, 0) for split in Split}


def get(session: Session, project_id: int, prompt_id: int) -> Prompt:
    """Return a prompt of the project.

    Raises:
        NotFound: there is none.
    """
    row = session.get(Prompt, prompt_id)
    if row is None or row.project_id != project_id:
        raise NotFound(f"there is no prompt {prompt_id} in this project")
    return row


def demonstrations_of(session: Session, prompt_id: int) -> list[Demonstration]:
    """Return the demonstrations of a prompt."""
    query = select(Demonstration).where(Demonstration.prompt_id == prompt_id)
    return list(session.scalars(query.order_by(Demonstration.id)))


def completions_of(session: Session, prompt_id: int, *, limit: int = 100) -> list[Completion]:
    """Return the completions of a prompt, newest first."""
    query = select(Completion).where(Completion.prompt_id == prompt_id)
    return list(session.scalars(query.order_by(Completion.id.desc()).limit(limit)))


def contains(session: Session, column: Any, search: str) -> ColumnElement[bool]:
    """Return the condition that a JSON column contains a text, ignoring case."""
    # SQLite stores JSON with escapes for all but ASCII, PostgreSQL without.
    is_escaped = session.get_bind().dialect.name == "sqlite"
    text = json.dumps(search.strip(), ensure_ascii=is_escaped)[1:-1]
    return cast(column, String).icontains(text, autoescape=True)


def text_hash(text: str) -> str:
    """Return the hash of a text, unchanged."""
    return hashlib.sha256(text.encode()).hexdigest()


def _by_hash(session: Session, project_id: int, hashes: Iterable[str]) -> dict[str, Prompt]:
    query = select(Prompt).where(
        Prompt.project_id == project_id, Prompt.content_hash.in_(set(hashes))
    )
    return {prompt.content_hash: prompt for prompt in session.scalars(query)}
