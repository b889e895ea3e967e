"""Prompts imported before there were categories and tags get those that their notes name."""

import json

from sqlalchemy import text

from app.db import Database, schema

BEFORE = "91b7e3d05c2a"
NOTES: tuple[dict[str, object], ...] = (
    {"category": "open qa", "tags": "a, b"},
    {"subset": "easy", "tags": ["c", "x" * 61]},
    {"category": 7},
    {"category": "x" * 121},
    {},
)


def test_labels_in_the_notes_are_filled_in(any_database: Database) -> None:
    schema.downgrade(any_database.engine, BEFORE)
    with any_database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO project (id, slug, name, description, instruction, judgment_kind, k,"
                " overlap, strength_steps, allow_tie, allow_both_bad, rating_max, gold_rate,"
                " repeat_rate, evaluation_rate, is_paused, split_seed, settings, created_at)"
                " VALUES (1, 'desk', 'Desk', '', '', 'pick', 2, 3, 4, true, true, 5, 0, 0, 0,"
                " false, 0, '{}', '2026-01-01 00:00:00.000000')"
            )
        )
        for number, notes in enumerate(NOTES, 1):
            connection.execute(
                text(
                    "INSERT INTO prompt (id, project_id, messages, follow_up, split, content_hash,"
                    " source, source_key, meta, created_at) VALUES (:id, 1, '[]', '[]', 'train',"
                    " :id_text, '', '', :meta, '2026-01-01 00:00:00.000000')"
                ),
                {"id": number, "id_text": str(number), "meta": json.dumps(notes)},
            )
    schema.upgrade(any_database.engine)
    with any_database.engine.connect() as connection:
        categories = connection.scalars(text("SELECT category FROM prompt ORDER BY id")).all()
        tags = connection.execute(text("SELECT prompt_id, tag FROM prompt_tag ORDER BY 1, 2")).all()
    assert categories == ["open qa", "easy", "", "", ""]
    assert [tuple(row) for row in tags] == [(1, "a"), (1, "b"), (2, "c")]
