"""Completions in imported files: known by their prompt, their text, and who or what wrote them.

Two models that wrote the same text have a completion each. A text whose writer the file does not
name is the first completion with that text. In the first imports, equal texts of a prompt were one
completion, whoever wrote them: those rows are found by `FIRST_PREFIX` and still stand for their
writer.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.db import bulk, now
from app.formats import fields
from app.formats.records import CompletionText
from app.models import Completion, Project
from app.services.project import prompts, word_backlog

PREFIX, FIRST_PREFIX = "file-", "import-"
SOURCE_MOST = 120
_COLUMNS = (
    *("id", "project_id", "prompt_id", "checkpoint_id", "source", "source_key", "sample_index"),
    *(
        "earlier",
        "text",
        "is_finished",
        "finish_reason",
        "logprob_sum",
        "sampling",
        "author_id",
        "created_at",
    ),
)


class StoredCompletion(NamedTuple):
    """A completion's id; `merged_id` is the one that stood for its text in the first imports."""

    id: int
    is_new: bool
    merged_id: int


class _Known(NamedTuple):
    id: int
    source: str


class _Keys(NamedTuple):
    """The keys under which a text of a prompt may be stored; `own` includes its source."""

    first: tuple[int, str]
    plain: tuple[int, str]
    own: tuple[int, str]

    @classmethod
    def of(cls, prompt_id: int, candidate: CompletionText) -> "_Keys":
        # A response to a follow-up is known by the turns that lead up to it, too.
        whole = json.dumps(candidate.turns) if candidate.earlier else candidate.text
        digest = prompts.text_hash(whole)
        plain = f"{PREFIX}{digest}"
        own = plain
        if candidate.source is not None:
            own = f"{plain}-{hashlib.sha256(candidate.source.encode()).hexdigest()[:16]}"
        return cls((prompt_id, f"{FIRST_PREFIX}{digest}"), (prompt_id, plain), (prompt_id, own))


def store(
    session: Session,
    project: Project,
    candidates: Sequence[tuple[int, CompletionText]],
    *,
    sources: Sequence[str],
    new_prompts: Collection[int] = (),
) -> list[StoredCompletion]:
    """Store completions, each with its prompt's id; return what they are, in the order given.

    `sources` has, for each, the source it gets if it names none.
    `new_prompts` are prompts of this transaction, which have no completions yet: those of others
    are looked up.
    """
    if not candidates:
        return []
    all_keys = [_Keys.of(prompt_id, candidate) for prompt_id, candidate in candidates]
    known = _known(session, all_keys, new_prompts)
    fresh: dict[tuple[int, str], tuple[CompletionText, str]] = {}
    places: list[tuple[int, str] | None] = []
    found: list[_Known | None] = []
    for keys, (_, candidate), source in zip(all_keys, candidates, sources, strict=True):
        hit = _hit(known, keys, candidate.source)
        place = None
        if hit is None:
            is_first = keys.first not in known and keys.plain not in known
            place = keys.plain if is_first else keys.own
            # The id follows; until then, the number in line stands for it.
            own = (candidate.source or source)[:SOURCE_MOST]
            hit = known[place] = _Known(-1 - len(fresh), own)
            fresh[place] = (candidate, own)
        found.append(hit)
        places.append(place)
    ids = _insert(session, project, fresh)
    return [
        StoredCompletion(_id(hit, ids), place is not None, _id(known.get(keys.first, hit), ids))
        for keys, hit, place in zip(all_keys, found, places, strict=True)
        if hit is not None
    ]


def find(
    session: Session, candidates: Sequence[tuple[int, CompletionText]]
) -> list[StoredCompletion | None]:
    """Return the stored completions, each known by its prompt's id; None for those that are new."""
    all_keys = [_Keys.of(prompt_id, candidate) for prompt_id, candidate in candidates]
    known = _known(session, all_keys, ())
    hits = [
        _hit(known, keys, candidate.source)
        for keys, (_, candidate) in zip(all_keys, candidates, strict=True)
    ]
    return [hit and StoredCompletion(hit.id, False, hit.id) for hit in hits]


def _hit(known: Mapping[tuple[int, str], _Known], keys: _Keys, source: str | None) -> _Known | None:
    for key in (keys.first, keys.plain):
        hit = known.get(key)
        if hit is not None and (source is None or hit.source == source[:SOURCE_MOST]):
            return hit
    return known.get(keys.own)


def _known(
    session: Session, all_keys: Sequence[_Keys], new_prompts: Collection[int]
) -> dict[tuple[int, str], _Known]:
    wanted = {key for keys in all_keys if keys.first[0] not in new_prompts for key in keys}
    if not wanted:
        return {}
    place = (Completion.prompt_id, Completion.source_key)
    columns = (*place, Completion.id, Completion.source)
    query = bulk.with_pairs(session, *place, wanted, columns, Completion.sample_index == 0)
    return {(row[0], row[1]): _Known(row[2], row[3]) for row in session.execute(query)}


def _insert(
    session: Session,
    project: Project,
    fresh: Mapping[tuple[int, str], tuple[CompletionText, str]],
) -> list[int]:
    ids = bulk.reserve_ids(session, Completion, len(fresh))
    moment = now(session)
    rows: list[tuple[Any, ...]] = [
        (
            *(completion_id, project.id, prompt_id, None),
            *(source, source_key, 0),
            *(fields.as_messages(candidate.earlier), candidate.text),
            *(True, "imported", None, {}, None, moment),
        )
        for completion_id, ((prompt_id, source_key), (candidate, source)) in zip(
            ids, fresh.items(), strict=True
        )
    ]
    with word_backlog.postponed(session, Completion, project.id, ids):
        bulk.insert(session, Completion, _COLUMNS, rows)
    return ids


def _id(known: _Known, ids: Sequence[int]) -> int:
    return known.id if known.id > 0 else ids[-1 - known.id]
