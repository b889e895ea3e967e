"""Prompts and demonstrations: taken in once by what they say, split for good, looked up in pages.

How files are read is the formats' business, and what else a file may hold is `imports`'.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import splits
from app.errors import Invalid, NotFound
from app.models import Completion, Demonstration, Project, Prompt, Split

PAGE = 50

Turn = tuple[str, str]


@dataclass(frozen=True, slots=True)
class NewPrompt:
    """A prompt as it comes in; `follow_up` are the user's turns after the model's own answer."""

    turns: tuple[Turn, ...]
    follow_up: tuple[str, ...] = ()
    source: str = ""
    source_key: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """What decides whether it is there already, and its split."""
        return splits.content_hash([*self.turns, *(("user", text) for text in self.follow_up)])


@dataclass(frozen=True, slots=True)
class Added:
    """Prompts in the order they were given, and how many of them are new."""

    prompts: tuple[Prompt, ...]
    new: int


@dataclass(frozen=True, slots=True)
class ListedPrompt:
    """A prompt in a list, with what hangs on it."""

    prompt: Prompt
    demonstrations: int
    completions: int


@dataclass(frozen=True, slots=True)
class ListedPrompts:
    """Some prompts, newest first, and where the next page begins."""

    rows: tuple[ListedPrompt, ...]
    before: int | None


def add(
    session: Session, project: Project, given: Sequence[NewPrompt], *, author_id: int | None = None
) -> Added:
    """Take prompts in; one that says the same as another is that other."""
    hashes = [one.content_hash for one in given]
    known = _by_hash(session, project.id, hashes)
    moment = now(session)
    shares = shares_of(project)
    new = 0
    for one, digest in zip(given, hashes, strict=True):
        if digest in known:
            continue
        known[digest] = Prompt(
            project_id=project.id,
            messages=[{"role": role, "content": content} for role, content in one.turns],
            follow_up=list(one.follow_up),
            split=Split(splits.split_of(digest, shares)),
            content_hash=digest,
            source=one.source[:120],
            source_key=one.source_key[:200],
            meta=dict(one.meta),
            author_id=author_id,
            created_at=moment,
        )
        session.add(known[digest])
        new += 1
    session.flush()
    return Added(tuple(known[digest] for digest in hashes), new)


def add_demonstrations(
    session: Session,
    answers: Sequence[tuple[Prompt, str]],
    *,
    source: str = "",
    author_id: int | None = None,
) -> int:
    """Keep good answers to prompts; return how many were not there yet."""
    keys = [(prompt.id, text_hash(text)) for prompt, text in answers]
    query = select(Demonstration.prompt_id, Demonstration.content_hash).where(
        Demonstration.prompt_id.in_({prompt_id for prompt_id, _ in keys})
    )
    seen = {(row.prompt_id, row.content_hash) for row in session.execute(query)}
    moment = now(session)
    new = 0
    for (prompt, text), key in zip(answers, keys, strict=True):
        if key in seen:
            continue
        seen.add(key)
        new += 1
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
    return new


def asked_in_steps(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
    """Cut a conversation where a user's turn follows a user's turn: what is asked now, and later.

    Raises:
        Invalid: something else than the user's turns comes after such a place.
    """
    for at in range(1, len(turns)):
        if turns[at - 1][0] == turns[at][0] == "user":
            later = turns[at:]
            if any(role != "user" for role, _ in later):
                raise Invalid(
                    f"turn {at + 1} is asked after the model's own answer, so only the user's "
                    f"turns may follow"
                )
            return tuple(turns[:at]), tuple(content for _, content in later)
    return tuple(turns), ()


def shares_of(project: Project) -> splits.Shares:
    """Return how a project parts its prompts; set before the first prompt, then for good."""
    given = project.settings.get("split_shares")
    return splits.Shares(*given) if given else splits.Shares()


def set_shares(session: Session, project: Project, shares: splits.Shares) -> None:
    """Choose how prompts are parted.

    Raises:
        Invalid: there are prompts, whose splits must not move.
    """
    chosen = [shares.train, shares.validation, shares.test]
    if shares == shares_of(project):
        return
    if sum(counts(session, project.id).values()):
        raise Invalid("the split shares cannot change once there are prompts")
    project.settings = {**project.settings, "split_shares": chosen}


def counts(session: Session, project_id: int) -> dict[Split, int]:
    """Count the prompts of each split."""
    query = select(Prompt.split, func.count()).where(Prompt.project_id == project_id)
    found = {Split(name): count for name, count in session.execute(query.group_by(Prompt.split))}
    return {split: found.get(split, 0) for split in Split}


def page(
    session: Session,
    project_id: int,
    *,
    split: Split | None = None,
    search: str = "",
    source: str = "",
    before: int | None = None,
    limit: int = PAGE,
) -> ListedPrompts:
    """Return prompts, newest first, that hold the search text."""
    conditions: list[ColumnElement[bool]] = [Prompt.project_id == project_id]
    if split is not None:
        conditions.append(Prompt.split == split)
    if search.strip():
        conditions.append(contains(session, Prompt.messages, search))
    if source:
        conditions.append(Prompt.source == source)
    if before is not None:
        conditions.append(Prompt.id < before)
    answered = select(func.count()).where(Demonstration.prompt_id == Prompt.id)
    completed = select(func.count()).where(Completion.prompt_id == Prompt.id)
    query = (
        select(Prompt, answered.scalar_subquery(), completed.scalar_subquery())
        .where(*conditions)
        .order_by(Prompt.id.desc())
        .limit(limit)
    )
    rows = tuple(ListedPrompt(*row) for row in session.execute(query))
    return ListedPrompts(rows, rows[-1].prompt.id if len(rows) == limit else None)


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
    """Return the good answers to a prompt."""
    query = select(Demonstration).where(Demonstration.prompt_id == prompt_id)
    return list(session.scalars(query.order_by(Demonstration.id)))


def completions_of(session: Session, prompt_id: int, *, limit: int = 100) -> list[Completion]:
    """Return the candidate answers to a prompt, newest first."""
    query = select(Completion).where(Completion.prompt_id == prompt_id)
    return list(session.scalars(query.order_by(Completion.id.desc()).limit(limit)))


def sources(session: Session, project_id: int) -> list[str]:
    """Return where the prompts came from."""
    query = select(Prompt.source).distinct().where(Prompt.project_id == project_id)
    return sorted(filter(None, session.scalars(query)))


def contains(session: Session, column: Any, search: str) -> ColumnElement[bool]:
    """Return the condition that a JSON column holds a text, whatever its case."""
    # SQLite stores JSON with escapes for all but ASCII, PostgreSQL without.
    is_escaped = session.get_bind().dialect.name == "sqlite"
    text = json.dumps(search.strip(), ensure_ascii=is_escaped)[1:-1]
    return cast(column, String).icontains(text, autoescape=True)


def text_hash(text: str) -> str:
    """Hash a text as it stands."""
    return hashlib.sha256(text.encode()).hexdigest()


def _by_hash(session: Session, project_id: int, hashes: Iterable[str]) -> dict[str, Prompt]:
    query = select(Prompt).where(
        Prompt.project_id == project_id, Prompt.content_hash.in_(set(hashes))
    )
    return {prompt.content_hash: prompt for prompt in session.scalars(query)}
