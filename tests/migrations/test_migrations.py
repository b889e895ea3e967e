"""The migrations match the models, and every step is reversible, on both databases."""

from sqlalchemy import inspect, select

from app.db import Database, schema
from app.models import Completion, Prompt, Split
from app.services.project import prompt_search, prompts
from app.services.project.prompt_search import PromptFilter
from app.services.project.prompts import NewPrompt
from tests.services import sample


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
        project = sample.make_project(session)
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


def test_prompts_keep_their_split_and_get_the_group_of_their_beginning(
    any_database: Database,
) -> None:
    turns = (
        ("system", "Be kind."),
        ("user", " Open?\r\n"),
        ("assistant", "Yes."),
        ("user", "Now?"),
    )
    with any_database.transaction() as session:
        project = sample.make_project(session)
        (prompt,) = prompts.add(session, project, [NewPrompt(turns)]).prompts
        prompt.split = Split.VALIDATION
        sample.make_completions(session, project, 2)
        expected = prompt.group_hash
    schema.downgrade(any_database.engine, "7c1f04e8d2b6")
    schema.upgrade(any_database.engine)
    with any_database.transaction() as session:
        migrated = session.scalars(select(Prompt).order_by(Prompt.id)).first()
        assert migrated is not None
        assert (migrated.group_hash, migrated.split) == (expected, Split.VALIDATION)
        assert not migrated.is_evaluation
        assert session.scalars(select(Completion)).all()  # what refers to prompts is still there
