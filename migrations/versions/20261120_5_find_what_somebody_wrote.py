"""Index completions by author, so that nobody is asked to judge their own.

Revision: d3a90c6f7e15
Follows: b41c5e7790ad
"""

import sqlalchemy as sa
from alembic import op

revision = "d3a90c6f7e15"
down_revision = "b41c5e7790ad"
branch_labels = None
depends_on = None

WRITTEN = sa.text("author_id IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_completion_author",
        "completion",
        ["author_id"],
        sqlite_where=WRITTEN,
        postgresql_where=WRITTEN,
    )


def downgrade() -> None:
    op.drop_index(
        "ix_completion_author", "completion", sqlite_where=WRITTEN, postgresql_where=WRITTEN
    )
