"""Keep when the database was restored from a backup, and above which lease tokens jobs go on.

Revision: 6f2b90d4c7e1
Follows: 91d4c6e0a7f5
"""

import sqlalchemy as sa
from alembic import op

revision = "6f2b90d4c7e1"
down_revision = "91d4c6e0a7f5"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "restoration",
        sa.Column("id", KEY, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("restored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_floor", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restoration")),
    )


def downgrade() -> None:
    op.drop_table("restoration")
