"""Keep the margins and rating scales of files, and what an import found to be there already.

Revision: 9b41f7c2d06e
Follows: 8c41f0d2b7e6
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "9b41f7c2d06e"
down_revision = "8c41f0d2b7e6"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("judgment", sa.Column("margin", sa.Double(), nullable=True))
    op.add_column("criterion", sa.Column("scale", JSON, nullable=True))
    for name in ("duplicates", "remarks"):
        empty = sa.text("'[]'")
        op.add_column("import_run", sa.Column(name, JSON, nullable=False, server_default=empty))
    op.add_column("import_job", sa.Column("last_ids", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("import_job", "last_ids")
    op.drop_column("import_run", "remarks")
    op.drop_column("import_run", "duplicates")
    op.drop_column("criterion", "scale")
    op.drop_column("judgment", "margin")
