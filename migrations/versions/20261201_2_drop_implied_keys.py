"""Drop foreign keys that another one implies, and index keys that are mostly null where they are set.

A judgment names its assignment, and for quicker reading also what that names: its comparison,
labeler and project. Each foreign key is checked row by row; those of the copies protect nothing
that the others do not (docs/decisions/0011). SQLite can only change the definition of a table
by writing it, which takes no time whatever the size of the table.

Revision: d81a4f6e2b93
Follows: b27f5e90c1d4
"""

import re
from collections.abc import Callable

from alembic import op

revision = "d81a4f6e2b93"
down_revision = "b27f5e90c1d4"
branch_labels = None
depends_on = None

IMPLIED = {
    "prompt_tag": ("project",),
    "demonstration": ("project",),
    "completion": ("project",),
    "comparison": ("project",),
    "assignment": ("project", "comparison"),
    "judgment": ("project", "comparison", "labeler"),
}
TABLES = {"project": "project", "comparison": "comparison", "labeler": "user"}
SPARSE = {
    "ix_completion_checkpoint_id": ("completion", ["checkpoint_id"]),
    "ix_comparison_evaluation_id": ("comparison", ["evaluation_id"]),
    "ix_comparison_round_id": ("comparison", ["round_id", "id"]),
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rewrite(_without)
    else:
        for table, keys in IMPLIED.items():
            for key in keys:
                op.execute(f"ALTER TABLE {table} DROP CONSTRAINT fk_{table}_{key}_id")
    for name, (table, columns) in SPARSE.items():
        op.drop_index(name, table)
        columns_of = ", ".join(columns)
        op.execute(f"CREATE INDEX {name} ON {table} ({columns_of}) WHERE {columns[0]} IS NOT NULL")


def downgrade() -> None:
    for name, (table, columns) in SPARSE.items():
        op.drop_index(name, table)
        op.create_index(name, table, columns)
    if op.get_bind().dialect.name == "sqlite":
        _rewrite(_with)
        return
    for table, keys in IMPLIED.items():
        for key in keys:
            op.execute(
                f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_{key}_id "
                f'FOREIGN KEY ({key}_id) REFERENCES "{TABLES[key]}" (id)'
            )


def _rewrite(changed: Callable[[str, str, str], str]) -> None:
    """Change the definitions of the tables; what they hold stays as it is."""
    connection = op.get_bind()
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    definitions = {name: sql for name, sql in rows.all() if name in IMPLIED}
    version = int(connection.exec_driver_sql("PRAGMA schema_version").scalar() or 0)
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for table, sql in definitions.items():
        for key in IMPLIED[table]:
            sql = changed(sql, table, key)
        connection.exec_driver_sql(
            "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (sql, table)
        )
    # Other connections read the definitions again, and so does this one.
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")


def _without(sql: str, table: str, key: str) -> str:
    name = rf'"?fk_{table}_{key}_id"?'
    pattern = rf",\s*CONSTRAINT {name} FOREIGN KEY\s*\([^)]*\)\s*REFERENCES\s+\S+\s*\([^)]*\)"
    changed, count = re.subn(pattern, "", sql)
    if count != 1:
        raise RuntimeError(f"the table {table} has no foreign key fk_{table}_{key}_id")
    return changed


def _with(sql: str, table: str, key: str) -> str:
    constraint = f"CONSTRAINT fk_{table}_{key}_id FOREIGN KEY({key}_id)"
    referred = f"REFERENCES {TABLES[key]} (id)"
    return f"{sql.rstrip().removesuffix(')').rstrip()}, \n\t{constraint} {referred}\n)"
