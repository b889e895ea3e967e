"""The migrations match the models, and every step is reversible, on both databases."""

from sqlalchemy import insert, inspect

from app.db import Database, now, schema
from app.models import Prompt, Split
from app.services.project import prompts
from app.services.project.prompts import NewPrompt
from tests.services.sample import make_project


def test_the_migrated_tables_are_the_models(any_database: Database) -> None:
    assert schema.drift(any_database.engine) == []
    assert schema.is_current(any_database.engine)


def test_down_leaves_nothing_and_up_again_is_the_same(any_database: Database) -> None:
    schema.downgrade(any_database.engine)
    assert set(inspect(any_database.engine).get_table_names()) <= {"alembic_version"}
    schema.upgrade(any_database.engine)
    assert schema.drift(any_database.engine) == []


def test_a_missing_column_is_drift(any_database: Database) -> None:
    with any_database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE comparison DROP COLUMN gold_reason")
    assert schema.drift(any_database.engine) != []


def test_texts_stored_before_the_word_indexes_are_found(any_database: Database) -> None:
    schema.downgrade(any_database.engine, "8c41f0d2b7e6")
    with any_database.transaction() as session:
        project = make_project(session)
        prompt = NewPrompt((("user", "My refund is late"),))
        session.execute(
            insert(Prompt).values(
                project_id=project.id,
                messages=[{"role": "user", "content": "My refund is late"}],
                follow_up=[],
                split=Split.TRAIN,
                content_hash=prompt.content_hash,
                source="",
                source_key="",
                meta={},
                created_at=now(session),
            )
        )
        project_id = project.id
    schema.upgrade(any_database.engine)
    with any_database.reader() as session:
        assert len(prompts.page(session, project_id, search="refu").rows) == 1


def test_a_lost_trigger_of_the_word_indexes_is_drift(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER prompt_words_update")
    assert schema.drift(database.engine) == [("missing_word_index", "prompt_words_update")]
