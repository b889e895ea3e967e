"""An import asks PostgreSQL nothing while it sends a batch: rows are made and stored at once."""

import io
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, select

from app.db import Database, copying
from app.models import Completion, Judgment, Prompt
from app.services.datasets import imports
from tests.services import sample

pytestmark = pytest.mark.services

BATCH, BATCHES = 20, 4
ROWS: Mapping[str, Mapping[str, Any]] = {
    "prompts": {"category": "desk", "tags": ["new"]},
    "preferences": {"chosen": "Yes.", "rejected": "No."},
    "completions": {"completions": [{"model": "a", "text": "Yes."}, {"model": "b", "text": "No."}]},
    "votes": {"prompt_id": "q", "chosen": "Yes.", "rejected": "No.", "labeler": "ann"},
}


@pytest.mark.parametrize("kind", ROWS)
def test_nothing_is_asked_between_the_first_rows_and_the_last(
    postgres_url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "BATCH", BATCH)
    database = Database(postgres_url)
    with database.transaction() as session:
        project_id = sample.make_project(session).id
    happened: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        happened.append(statement)

    def send(copier: copying.Copier, connection: Connection, table: str, *rest: Any) -> None:
        happened.append(f"sent {table}")
        whole_send(copier, connection, table, *rest)

    whole_send = copying.Copier.send
    monkeypatch.setattr(copying.Copier, "send", send)
    file = io.BytesIO(b"".join(_line(n, ROWS[kind]) for n in range(BATCH * BATCHES)))
    imports.run_in_batches(
        database.transaction, project_id, file, filename="f.jsonl", words_later=True
    )
    runs = _runs(happened)
    assert len(runs) == BATCHES - 1  # the first batch says whether others can write
    with database.reader() as session:
        stored = [
            session.scalar(select(func.count()).select_from(of))
            for of in (Prompt, Completion, Judgment)
        ]
    texts, judged = 0 if kind == "prompts" else 2, kind in ("preferences", "votes")
    assert stored == [BATCH * BATCHES * number for number in (1, texts, judged)]
    database.dispose()


def _line(number: int, row: Mapping[str, Any]) -> bytes:
    return json.dumps({"prompt": f"Question {number}?", **row}).encode() + b"\n"


def _runs(happened: Sequence[str]) -> list[list[str]]:
    """Return the rows that were sent one after the other, without a statement between them."""
    runs: list[list[str]] = []
    for before, each in pairwise(["", *happened]):
        if each.startswith("sent "):
            if not before.startswith("sent "):
                runs.append([])
            runs[-1].append(each)
    return runs
