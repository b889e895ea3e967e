"""The migrations match the models, and every step is reversible, on both databases."""

from sqlalchemy import inspect

from app.db import Database, schema


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
