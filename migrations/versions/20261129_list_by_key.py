"""Index what lists of comparisons and labelers' histories are filtered by.

Revision: 91b7e3d05c2a
Follows: 6f2d91c4a7b8
"""

import sqlalchemy as sa
from alembic import op

revision = "91b7e3d05c2a"
down_revision = "6f2d91c4a7b8"
branch_labels = None
depends_on = None

PARTIAL = {
    "open": "done_slots < overlap AND NOT is_withdrawn",
    "judged": "done_slots >= overlap AND NOT is_withdrawn",
    "withdrawn": "is_withdrawn",
}
PLAIN = {
    "ix_comparison_project_id": ("comparison", ["project_id", "id"]),
    "ix_comparison_project_id_kind": ("comparison", ["project_id", "kind", "id"]),
    "ix_judgment_project_id_submitted_at": ("judgment", ["project_id", "submitted_at"]),
}
WORDED = "comment <> '' OR text IS NOT NULL"


def upgrade() -> None:
    op.drop_index("ix_comparison_withdrawn", table_name="comparison")
    op.drop_index("ix_comparison_round_id", table_name="comparison")
    op.create_index("ix_comparison_round_id", "comparison", ["round_id", "id"])
    for name, (table, columns) in PLAIN.items():
        op.create_index(name, table, columns)
    op.create_index("ix_comparison_purpose", "comparison", ["project_id", "purpose", "id"])
    for state, condition in PARTIAL.items():
        _partial_index(f"ix_comparison_{state}", "comparison", ["project_id", "id"], condition)
    _partial_index("ix_judgment_worded", "judgment", ["labeler_id", "assignment_id"], WORDED)
    _partial_index(
        "ix_judgment_text", "judgment", ["project_id", "comparison_id"], "text IS NOT NULL"
    )
    if op.get_bind().dialect.name == "sqlite" and _has_statistics():
        op.execute("ANALYZE")  # or else SQLite takes the new indexes for the most selective ones


def downgrade() -> None:
    op.drop_index("ix_judgment_text", table_name="judgment")
    op.drop_index("ix_judgment_worded", table_name="judgment")
    for state in PARTIAL:
        op.drop_index(f"ix_comparison_{state}", table_name="comparison")
    op.drop_index("ix_comparison_purpose", table_name="comparison")
    for name, (table, _) in PLAIN.items():
        op.drop_index(name, table_name=table)
    op.drop_index("ix_comparison_round_id", table_name="comparison")
    op.create_index("ix_comparison_round_id", "comparison", ["round_id"])
    _partial_index("ix_comparison_withdrawn", "comparison", ["project_id"], "is_withdrawn")


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _has_statistics() -> bool:
    query = sa.text("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'")
    return op.get_bind().scalar(query) is not None
