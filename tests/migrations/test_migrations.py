"""The migrations match the models, and every step is reversible, on both databases."""

from sqlalchemy import inspect

from app.db import Database, schema
from app.services.project import prompt_search, prompts
from app.services.project.prompt_search import PromptFilter
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
    with any_database.transaction() as session:
        project = make_project(session)
        prompts.add(session, project, [NewPrompt((("user", "My refund is late"),))])
        project_id = project.id
    schema.downgrade(any_database.engine, "8c41f0d2b7e6")
    schema.upgrade(any_database.engine)
    with any_database.reader() as session:
        assert len(prompt_search.page(session, project_id, PromptFilter(search="refu")).rows) == 1


def test_a_lost_trigger_of_the_word_indexes_is_drift(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER prompt_words_update")
    assert schema.drift(database.engine) == [("missing_word_index", "prompt_words_update")]
