"""Texts whose words are indexed after they have been stored, so that a large import is quicker.

The transaction that stores them records the range of their ids; the triggers that index words pass
them over. A job works the ranges off once the file is in, the sweeper what is left of jobs that
ended early. Until then, searches by word do not find these texts, and say so.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db import bulk
from app.models import UnindexedTexts
from app.services.project.word_index import Searched

PIECE = 1_000
"""Texts that are indexed in one transaction at most."""

_LATER = "words_later"
_WORDS = {
    "prompt": "attune_words_of_messages(messages)",
    "completion": "attune_words(text)",
}


def index_later(session: Session) -> None:
    """Let a later `index_some` index what this transaction stores, always with `postponed`."""
    session.info[_LATER] = True
    if bulk.is_postgresql(session):
        session.execute(select(func.set_config("attune.words_later", "on", True)))


@contextmanager
def postponed(
    session: Session, model: Searched, project_id: int, ids: Sequence[int]
) -> Iterator[None]:
    """Insert rows with these ids, ascending, within the `with` block.

    Their words are indexed at once unless the session has called `index_later`.
    """
    if not ids or not session.info.get(_LATER):
        yield
        return
    # Before the texts: on SQLite, the triggers look there.
    row = (project_id, model.__tablename__, ids[0], ids[-1])
    bulk.insert(session, UnindexedTexts, ("project_id", "kind", "first_id", "last_id"), [row])
    yield


def index_some(session: Session, most: int = PIECE) -> int:
    """Index the words of some texts that wait, of any project; return how many ids were covered.

    Zero means that none waits, or that other transactions are at it.
    """
    oldest = select(UnindexedTexts).order_by(UnindexedTexts.id).limit(1)
    waiting = session.scalar(oldest.with_for_update(skip_locked=True))
    if waiting is None:
        return 0
    first, last = waiting.first_id, min(waiting.last_id, waiting.first_id + most - 1)
    table = waiting.kind
    if bulk.is_postgresql(session):
        into, keys = "id, project_id", "id, project_id"
        known = "ON CONFLICT (id) DO NOTHING"  # others' ids may lie in the range
    else:
        into, keys, known = "rowid", "id", ""
    statement = (
        f"INSERT INTO {table}_words ({into}, words) SELECT {keys}, {_WORDS[table]} FROM {table} "
        f"WHERE id BETWEEN :first AND :last {known}"
    )
    session.execute(text(statement), {"first": first, "last": last})
    if last == waiting.last_id:
        session.delete(waiting)
    else:
        waiting.first_id = last + 1
    session.flush()
    return last - first + 1


def waiting(session: Session, project_id: int | None = None) -> int:
    """Return about how many texts of the project, or of all, are not indexed yet."""
    query = select(func.sum(UnindexedTexts.last_id - UnindexedTexts.first_id + 1))
    if project_id is not None:
        query = query.where(UnindexedTexts.project_id == project_id)
    return int(session.scalar(query) or 0)
