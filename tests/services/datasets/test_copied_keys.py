"""Rows repeat keys of the rows they belong to, without a foreign key: the copies must agree.

The path of each copy is the one that docs/decisions/0010 names as its protection.
"""

import io

import pytest
from sqlalchemy import inspect, text

from app.db import Database
from app.services.datasets import imports
from tests.services.sample import make_project

# table, copied column, the row it belongs to, and that row's column
COPIES = (
    ("completion", "project_id", "prompt", "prompt_id", "project_id"),
    ("demonstration", "project_id", "prompt", "prompt_id", "project_id"),
    ("prompt_tag", "project_id", "prompt", "prompt_id", "project_id"),
    ("comparison", "project_id", "prompt", "prompt_id", "project_id"),
    ("assignment", "comparison_id", "slot", "slot_id", "comparison_id"),
    ("assignment", "project_id", "comparison", "comparison_id", "project_id"),
    ("judgment", "comparison_id", "assignment", "assignment_id", "comparison_id"),
    ("judgment", "labeler_id", "assignment", "assignment_id", "labeler_id"),
    ("judgment", "project_id", "assignment", "assignment_id", "project_id"),
)
FILE = b"""{"prompt": "a", "chosen": "b", "rejected": "c", "tags": ["t"]}
{"prompt": "a", "chosen": "d", "rejected": "b"}
{"prompt": "e", "chosen": "f", "rejected": "g"}
"""


def disagreeing(database: Database) -> dict[str, int]:
    """Count the rows whose copy is not what it is a copy of."""
    with database.reader() as session:
        return {
            f"{table}.{copy}": session.scalar(
                text(
                    f"SELECT count(*) FROM {table} AS one LEFT JOIN {parent} AS other "
                    f"ON other.id = one.{key} "
                    f"WHERE other.id IS NULL OR other.{source} <> one.{copy}"
                )
            )
            or 0
            for table, copy, parent, key, source in COPIES
        }


def test_an_import_copies_the_keys_of_the_rows_it_adds(any_database: Database) -> None:
    with any_database.transaction() as session:
        for _ in range(2):
            project = make_project(session)
            imports.run(session, project, io.BytesIO(FILE), filename="f.jsonl")
    assert set(disagreeing(any_database).values()) == {0}
    with any_database.transaction() as session:
        session.execute(text("UPDATE judgment SET labeler_id = labeler_id + 1"))
    assert disagreeing(any_database)["judgment.labeler_id"] == 6


@pytest.mark.parametrize("table", sorted({copy[0] for copy in COPIES}))
def test_a_copy_has_no_foreign_key_and_what_it_is_copied_by_has(
    any_database: Database, table: str
) -> None:
    keys = {
        column
        for found in inspect(any_database.engine).get_foreign_keys(table)
        for column in found["constrained_columns"]
    }
    assert not keys & {copy for of, copy, *_ in COPIES if of == table}
    assert {"completion": "prompt_id", "assignment": "slot_id", "judgment": "assignment_id"}.get(
        table, "prompt_id"
    ) in keys
