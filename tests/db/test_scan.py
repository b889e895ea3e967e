"""Very many rows are read without keeping anybody from writing."""

from itertools import chain

import pytest
from sqlalchemy import func, select, update

from app.db import Database, engine
from app.db import scan as scan_module
from app.db.scan import key_ranges, scan
from app.models import Completion, Project, Prompt
from tests.services import sample

PROMPTS = 25
SOME = 3


def add_prompts(database: Database) -> list[int]:
    """Add prompts, each with some completions; return the ids of the prompts."""
    with database.transaction() as session:
        project = sample.make_project(session)
        return [sample.make_completions(session, project, SOME)[0] for _ in range(PROMPTS)]


@pytest.mark.parametrize("size", [1, 4, 5, 25, 26, 100])
def test_every_row_is_read_once_and_in_order(any_database: Database, size: int) -> None:
    ids = add_prompts(any_database)
    query = select(Prompt.id, Prompt.content_hash).where(Prompt.project_id > 0)
    with any_database.reader() as session:
        pieces = list(scan(session, query.order_by(Prompt.id), Prompt.id, size=size))
    assert [row.id for row in chain(*pieces)] == ids
    assert max(map(len, pieces)) <= size
    assert all(pieces)


@pytest.mark.parametrize("size", [2, 3, 7, 75, 76])
def test_rows_that_share_a_key_are_read_too(any_database: Database, size: int) -> None:
    ids = add_prompts(any_database)
    query = (
        select(Prompt.id, Completion.sample_index)
        .join(Completion, Completion.prompt_id == Prompt.id)
        .order_by(Prompt.id, Completion.id)
    )
    with any_database.reader() as session:
        rows = list(chain(*scan(session, query, Prompt.id, size=size)))
    assert [tuple(row) for row in rows] == [(key, at) for key in ids for at in range(SOME)]


def test_others_commit_between_the_pieces(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SQLITE_BUSY_TIMEOUT_S", 0.1)
    others = Database(any_database.engine.url.render_as_string(hide_password=False))
    add_prompts(any_database)
    with any_database.long_reader() as session:
        read = 0
        for piece in scan(session, select(Prompt.id).order_by(Prompt.id), Prompt.id, size=4):
            read += len(piece)
            with others.transaction() as other:
                other.execute(update(Project).values(name=f"Desk {read}"))
    assert read == PROMPTS
    others.dispose()


def test_ranges_of_keys_count_every_row_once(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "SQLITE_COUNTED", 4)
    add_prompts(any_database)
    count = select(func.count()).select_from(Prompt)
    with any_database.reader() as session:
        parts = list(key_ranges(session, Prompt.id))
        counts = [session.scalar(count.where(part)) or 0 for part in parts]
    assert sum(counts) == PROMPTS
    assert len(counts) == (7 if any_database.engine.dialect.name == "sqlite" else 1)
