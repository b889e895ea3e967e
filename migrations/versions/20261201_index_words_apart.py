"""Keep the words of texts apart from the texts, so that an import can add them later.

On PostgreSQL they were an index on a function of each text, which computes them in the statement
that adds the row. They move to tables of their own, which triggers keep, as FTS5 tables do on
SQLite. Texts between the ids of a row in `unindexed_texts` are passed over until that row is worked
off. A million completions take about a minute.

Revision: b27f5e90c1d4
Follows: 5f0e2c9ab7d4
"""

import sqlalchemy as sa
from alembic import op

revision = "b27f5e90c1d4"
down_revision = "5f0e2c9ab7d4"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INDEXED = {
    "prompt": ("messages", "attune_words_of_messages"),
    "completion": ("text", "attune_words"),
}


def upgrade() -> None:
    op.create_table(
        "unindexed_texts",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("first_id", KEY, nullable=False),
        sa.Column("last_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_unindexed_texts_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unindexed_texts")),
    )
    op.create_index("ix_unindexed_texts_project_id", "unindexed_texts", ["project_id"])
    op.create_index("ix_unindexed_texts_kind", "unindexed_texts", ["kind", "first_id"])
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, (column, function) in INDEXED.items():
        if is_sqlite:
            _drop_triggers(table)
            _keep_in_sqlite(table, column, function, can_wait=True)
        else:
            _keep_in_postgresql(table, column, function)


def downgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, (column, function) in INDEXED.items():
        if is_sqlite:
            op.execute(
                f"INSERT INTO {table}_words (rowid, words) SELECT one.id, {function}(one.{column}) "
                f"FROM {table} AS one JOIN unindexed_texts AS range ON range.kind = '{table}' "
                "AND one.id BETWEEN range.first_id AND range.last_id"
            )
            _drop_triggers(table)
            _keep_in_sqlite(table, column, function, can_wait=False)
            continue
        for event in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER {table}_words_{event} ON {table}")
        op.execute(f"DROP TABLE {table}_words")
        op.execute(f"DROP FUNCTION attune_keep_{table}_words()")
        op.execute(f"DROP FUNCTION attune_drop_{table}_words()")
        op.execute(f"CREATE INDEX ix_{table}_words ON {table} USING gin ({function}({column}))")
    op.drop_table("unindexed_texts")


def _keep_in_postgresql(table: str, column: str, function: str) -> None:
    words = f"{table}_words"
    op.execute(f"DROP INDEX ix_{words}")
    op.execute(
        f"CREATE TABLE {words} "
        f"(id bigint CONSTRAINT pk_{words} PRIMARY KEY, project_id bigint NOT NULL, "
        "words tsvector NOT NULL)"
    )
    op.execute(f"INSERT INTO {words} SELECT id, project_id, {function}({column}) FROM {table}")
    op.execute(f"CREATE INDEX ix_{words} ON {words} USING gin (words)")
    op.execute(
        f"CREATE FUNCTION attune_keep_{words}() RETURNS trigger LANGUAGE plpgsql "
        "SET search_path FROM CURRENT AS $function$ BEGIN "
        f"INSERT INTO {words} (id, project_id, words) "
        f"VALUES (new.id, new.project_id, {function}(new.{column})) "
        "ON CONFLICT (id) DO UPDATE SET words = excluded.words; "
        "RETURN NULL; END $function$"
    )
    op.execute(
        f"CREATE FUNCTION attune_drop_{words}() RETURNS trigger LANGUAGE plpgsql "
        "SET search_path FROM CURRENT AS $function$ BEGIN "
        f"DELETE FROM {words} WHERE id = old.id; RETURN NULL; END $function$"
    )
    # A setting of the transaction, which only imports that record the ids make.
    is_wanted = "WHEN (current_setting('attune.words_later', true) IS DISTINCT FROM 'on')"
    for event, moment, action in (
        ("insert", "INSERT", f"{is_wanted} EXECUTE FUNCTION attune_keep_{words}()"),
        ("update", f"UPDATE OF {column}", f"EXECUTE FUNCTION attune_keep_{words}()"),
        ("delete", "DELETE", f"EXECUTE FUNCTION attune_drop_{words}()"),
    ):
        op.execute(
            f"CREATE TRIGGER {words}_{event} AFTER {moment} ON {table} FOR EACH ROW {action}"
        )
    op.execute(f"ANALYZE {words}")


def _keep_in_sqlite(table: str, column: str, function: str, *, can_wait: bool) -> None:
    name = f"{table}_words"
    add = f"INSERT INTO {name} (rowid, words) VALUES (new.id, {function}(new.{column}))"
    drop = (
        f"INSERT INTO {name} ({name}, rowid, words) "
        f"VALUES ('delete', old.id, {function}(old.{column}))"
    )
    for event, moment, row, actions in (
        ("insert", "INSERT", "new", (add,)),
        ("update", f"UPDATE OF {column}", "new", (drop, add)),
        ("delete", "DELETE", "old", (drop,)),
    ):
        waits = (
            f"WHEN coalesce((SELECT last_id FROM unindexed_texts WHERE kind = '{table}' "
            f"AND first_id <= {row}.id ORDER BY first_id DESC LIMIT 1), 0) < {row}.id "
        )
        body = " ".join(f"{action};" for action in actions)
        op.execute(
            f"CREATE TRIGGER {name}_{event} AFTER {moment} ON {table} "
            f"{waits if can_wait else ''}BEGIN {body} END"
        )


def _drop_triggers(table: str) -> None:
    for event in ("insert", "update", "delete"):
        op.execute(f"DROP TRIGGER {table}_words_{event}")
