"""Prompts and demonstrations: stored once by content, split for good.

Reading files is up to the formats; what else a file may hold is up to `imports`. Lists are in
`prompt_search`, categories and tags in `prompt_labels`.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, String, cast, func, select
from sqlalchemy.orm import Session

from app.db import bulk, now
from app.domain import prompt_labels, splits
from app.domain.prompt_labels import PromptLabels
from app.errors import Invalid, NotFound
from app.models import Completion, Demonstration, Project, Prompt, Split
from app.services.project import word_backlog

_COLUMNS = (
    *("id", "project_id", "messages", "follow_up", "split", "content_hash", "group_hash"),
    *("is_evaluation", "source", "source_key", "category", "meta", "author_id", "created_at"),
)
_DEMONSTRATION_COLUMNS = (
    *("id", "project_id", "prompt_id", "text", "content_hash", "source", "author_id"),
    "created_at",
)

Turn = tuple[str, str]
_to_json = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class NewPrompt:
    """A prompt to store; `follow_up` are user turns asked after the model's own response.

    `split` is the one that is wanted for it; None leaves it to the hash of how it begins.
    """

    turns: tuple[Turn, ...]
    follow_up: tuple[str, ...] = ()
    source: str = ""
    source_key: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    split: Split | None = None
    labels: PromptLabels = field(init=False)
    """The category and tags in the notes."""
    content_hash: str = field(init=False)
    """The hash that identifies the prompt."""
    messages: str = field(init=False, repr=False)
    """The turns as JSON; an import makes them while the rows before are being stored."""

    def __post_init__(self) -> None:
        turns = [*self.turns, *(("user", text) for text in self.follow_up)]
        object.__setattr__(self, "labels", prompt_labels.of_notes(self.meta))
        object.__setattr__(self, "content_hash", splits.content_hash(turns))
        messages = [{"role": role, "content": content} for role, content in self.turns]
        object.__setattr__(self, "messages", _to_json(messages))

    @property
    def group_hash(self) -> str:
        """The hash of how it begins, which decides its split; often the same as its own."""
        is_whole = not self.follow_up and all(role != "user" for role, _ in self.turns[:-1])
        return self.content_hash if is_whole else splits.group_hash(self.turns)


@dataclass(frozen=True, slots=True)
class Added:
    """The stored prompts in the order given, and how many of them are new."""

    prompts: tuple[Prompt, ...]
    new: int


class StoredRow(NamedTuple):
    """The id of something stored, and whether it was not there before."""

    id: int
    is_new: bool


def add(
    session: Session,
    project: Project,
    new_prompts: Sequence[NewPrompt],
    *,
    author_id: int | None = None,
    is_evaluation: bool = False,
) -> Added:
    """Store prompts; those with the same content are one prompt."""
    stored = store(session, project, new_prompts, author_id=author_id, is_evaluation=is_evaluation)
    query = select(Prompt).where(bulk.among(session, Prompt.id, [row.id for row in stored]))
    by_id = {prompt.id: prompt for prompt in session.scalars(query)}
    return Added(tuple(by_id[row.id] for row in stored), sum(row.is_new for row in stored))


def store(
    session: Session,
    project: Project,
    new_prompts: Sequence[NewPrompt],
    *,
    author_id: int | None = None,
    is_evaluation: bool = False,
) -> list[StoredRow]:
    """Store prompts like `add`, with a few statements for all; return their ids in order.

    New prompts take the split of prompts that begin alike, then the one that is wanted for the
    first of them; those of an evaluation set go to the test split.
    """
    hashes = [new_prompt.content_hash for new_prompt in new_prompts]
    begun = _begun(session, project.id, [new_prompt.group_hash for new_prompt in new_prompts])
    # A prompt that is known begins like itself, so most new ones need not be looked for.
    known = _ids_by_hash(
        session, project.id, [one.content_hash for one in new_prompts if one.group_hash in begun]
    )
    first = {digest: at for at, digest in reversed(list(enumerate(hashes))) if digest not in known}
    places = sorted(first.values())
    ids = bulk.reserve_ids(session, Prompt, len(places))
    known |= {hashes[at]: prompt_id for at, prompt_id in zip(places, ids, strict=True)}
    groups = {at: new_prompts[at].group_hash for at in places}
    test = dict.fromkeys(groups.values(), Split.TEST)
    wanted: dict[str, Split] = {}
    for at, digest in groups.items():
        if (chosen := new_prompts[at].split) is not None:
            wanted.setdefault(digest, chosen)
    split = test if is_evaluation else _chosen_splits(project, begun, test, wanted)
    moment = now(session)
    rows = [
        (
            *(known[hashes[at]], project.id),
            new_prompts[at].messages,
            list(new_prompts[at].follow_up),
            *(split[groups[at]].value, hashes[at], groups[at], is_evaluation),
            *(new_prompts[at].source[:120], new_prompts[at].source_key[:200]),
            *(new_prompts[at].labels.category, dict(new_prompts[at].meta), author_id, moment),
        )
        for at in places
    ]
    with word_backlog.postponed(session, Prompt, project.id, ids):
        bulk.insert(session, Prompt, _COLUMNS, rows, written=("messages",))
    return [StoredRow(known[digest], first.get(digest) == at) for at, digest in enumerate(hashes)]


def split_of_each(session: Session, prompt_ids: Collection[int]) -> dict[int, Split]:
    """Return the split of each prompt by its id."""
    query = select(Prompt.id, Prompt.split).where(bulk.among(session, Prompt.id, prompt_ids))
    return {row[0]: Split(row[1]) for row in session.execute(query)}


def add_demonstrations(
    session: Session,
    responses: Sequence[tuple[Prompt, str]],
    *,
    source: str = "",
    author_id: int | None = None,
) -> int:
    """Store demonstrations of prompts of one project; return how many are new."""
    if not responses:
        return 0
    written = [(prompt.id, text) for prompt, text in responses]
    project_id = responses[0][0].project_id
    sources = [source] * len(written)
    stored = store_demonstrations(
        session, project_id, written, sources=sources, author_id=author_id
    )
    return sum(row.is_new for row in stored)


def store_demonstrations(
    session: Session,
    project_id: int,
    responses: Sequence[tuple[int, str]],
    *,
    sources: Sequence[str],
    author_id: int | None = None,
) -> list[StoredRow]:
    """Store demonstrations, each with its prompt's id and source; the same text is one."""
    if not responses:
        return []
    keys = [(prompt_id, text_hash(text)) for prompt_id, text in responses]
    place = (Demonstration.prompt_id, Demonstration.content_hash)
    query = bulk.with_pairs(session, *place, keys, (*place, Demonstration.id))
    known = {(row[0], row[1]): row[2] for row in session.execute(query)}
    first = {key: at for at, key in reversed(list(enumerate(keys))) if key not in known}
    places = sorted(first.values())
    ids = bulk.reserve_ids(session, Demonstration, len(places))
    known |= {keys[at]: demonstration_id for at, demonstration_id in zip(places, ids, strict=True)}
    moment = now(session)
    rows = [
        (
            *(known[keys[at]], project_id, keys[at][0], responses[at][1], keys[at][1]),
            *(sources[at][:120], author_id, moment),
        )
        for at in places
    ]
    bulk.insert(session, Demonstration, _DEMONSTRATION_COLUMNS, rows)
    return [StoredRow(known[key], first.get(key) == at) for at, key in enumerate(keys)]


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


def _begun(session: Session, project_id: int, group_hashes: Collection[str]) -> dict[str, Split]:
    """Return the split for new prompts of each group that has some already."""
    present: dict[str, list[Split]] = defaultdict(list)
    query = select(Prompt.group_hash, Prompt.split, Prompt.is_evaluation).where(
        Prompt.project_id == project_id, bulk.among(session, Prompt.group_hash, group_hashes)
    )
    evaluated = set()
    for digest, name, is_evaluation in session.execute(query.distinct()):
        present[digest].append(Split(name))
        if is_evaluation:
            evaluated.add(digest)
    shared = {digest: splits.shared_split(found) for digest, found in present.items()}
    begun = {digest: split for digest, split in shared.items() if split is not None}
    return begun | dict.fromkeys(evaluated, Split.TEST)


def _chosen_splits(
    project: Project,
    begun: Mapping[str, Split],
    group_hashes: Collection[str],
    wanted: Mapping[str, Split],
) -> dict[str, Split]:
    """Return the split of each group: that of its prompts, the one wanted, or by its hash."""
    shares = shares_of(project)
    return {
        digest: begun.get(digest) or wanted.get(digest) or splits.split_of(digest, shares)
        for digest in group_hashes
    }


def _ids_by_hash(session: Session, project_id: int, hashes: Sequence[str]) -> dict[str, int]:
    if not hashes:
        return {}
    query = select(Prompt.content_hash, Prompt.id).where(
        Prompt.project_id == project_id, bulk.among(session, Prompt.content_hash, hashes)
    )
    return {row[0]: row[1] for row in session.execute(query)}
