"""The migration that keeps versions of the instruction: what existing rows are given."""

from sqlalchemy import Connection, text

from app.db import Database, schema

BEFORE, AFTER = "5e0c8d27ab94", "93d1f0b7ce28"
MOMENT = "2026-03-01 12:00:00+00:00"


def _insert(connection: Connection, table: str, **values: object) -> None:
    columns, names = ", ".join(f'"{name}"' for name in values), ", ".join(f":{n}" for n in values)
    connection.execute(text(f'INSERT INTO "{table}" ({columns}) VALUES ({names})'), values)


def _completion(connection: Connection, row_id: int, source_key: str, model: int | None) -> None:
    _insert(
        connection,
        "completion",
        **{"id": row_id, "project_id": 1, "prompt_id": 1, "checkpoint_id": model, "source": "x"},
        **{"source_key": source_key, "sample_index": 0, "text": "x", "is_finished": True},
        **{"finish_reason": "", "sampling": "{}", "created_at": MOMENT},
    )


def _judgment(connection: Connection, row_id: int, lease_token: str) -> None:
    common = {"project_id": 1, "comparison_id": 1, "labeler_id": 1, "shown_order": "[0, 1]"}
    _insert(
        connection,
        "assignment",
        **{"id": row_id, "slot_id": row_id, "lease_token": lease_token, "state": "expired"},
        **{"leased_at": MOMENT, "expires_at": MOMENT, "skip_reason": "", "skip_comment": ""},
        **common,
    )
    _insert(
        connection,
        "judgment",
        **{"id": row_id, "assignment_id": row_id, "revision": 1, "is_current": True},
        **{"is_retraction": False, "is_surplus": False, "kind": "pick", "both_bad": False},
        **{"flags": "[]", "comment": "", "guidelines_version": 1, "body_hash": ""},
        **{"submission_key": f"key-{row_id}", "started_at": MOMENT, "submitted_at": MOMENT},
        **{"active_ms": 1},
        **common,
    )


def _fill(connection: Connection) -> None:
    _insert(connection, "user", **_USER)
    _insert(connection, "project", **_PROJECT)
    _insert(connection, "checkpoint", **_CHECKPOINT)
    _insert(connection, "prompt", **_PROMPT)
    _insert(connection, "comparison", **_COMPARISON)
    for number in (1, 2):
        _insert(connection, "slot", id=number, comparison_id=1, n=number, state="open")
    _completion(connection, 1, "checkpoint-1-x", 1)
    _completion(connection, 2, "server-x", None)
    _completion(connection, 3, "import-x", None)
    _judgment(connection, 1, "abc")
    _judgment(connection, 2, "import")


def test_rows_made_in_the_project_get_version_1_and_imported_ones_none(
    any_database: Database,
) -> None:
    schema.downgrade(any_database.engine, BEFORE)
    with any_database.engine.begin() as connection:
        _fill(connection)
    schema.upgrade(any_database.engine, AFTER)
    with any_database.engine.connect() as connection:
        versions = {
            table: [
                row[0]
                for row in connection.execute(
                    text(f"SELECT instruction_version FROM {table} ORDER BY id")
                )
            ]
            for table in ("completion", "judgment", "project")
        }
        texts = connection.execute(text("SELECT project_id, version, text FROM instruction"))
        assert [tuple(row) for row in texts] == [(1, 1, "Be brief.")]
    assert versions == {"completion": [1, 1, 0], "judgment": [1, 0], "project": [1]}
    schema.downgrade(any_database.engine, BEFORE)
    with any_database.engine.connect() as connection:
        kept = connection.execute(text("SELECT instruction FROM project")).scalar_one()
    assert kept == "Be brief."


_USER = {
    **{"id": 1, "email": "a@example.org", "name": "A", "is_admin": False, "is_active": True},
    **{"is_simulated": False, "single_keys": True, "created_at": MOMENT},
}
_PROJECT = {
    **{"id": 1, "slug": "desk", "name": "Desk", "description": "", "instruction": "Be brief."},
    **{"judgment_kind": "pick", "k": 2, "overlap": 1, "strength_steps": 4, "allow_tie": True},
    **{"allow_both_bad": True, "rating_max": 5, "gold_rate": 0, "repeat_rate": 0},
    **{"evaluation_rate": 0, "is_paused": False, "split_seed": 0, "settings": "{}"},
    **{"created_at": MOMENT},
}
_CHECKPOINT = {
    **{"id": 1, "project_id": 1, "kind": "base", "name": "Base 1", "uri": "x", "sha256": ""},
    **{"config": "{}", "metrics": "{}", "state": "ready", "created_at": MOMENT},
}
_PROMPT = {
    **{"id": 1, "project_id": 1, "messages": "[]", "follow_up": "[]", "split": "train"},
    **{"content_hash": "x", "source": "", "source_key": "", "meta": "{}", "created_at": MOMENT},
}
_COMPARISON = {
    **{"id": 1, "project_id": 1, "prompt_id": 1, "kind": "pick", "purpose": "train"},
    **{"overlap": 1, "priority": 0, "open_slots": 1, "done_slots": 0, "is_open": True},
    **{"is_withdrawn": False, "gold_reason": "", "natural_key": "x", "created_at": MOMENT},
}
