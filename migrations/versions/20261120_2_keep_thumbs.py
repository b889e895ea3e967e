"""Store thumbs and their reasons.

Revision: 2c7d91e0a4b8
Follows: 6fa5f1b17e1f
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2c7d91e0a4b8"
down_revision = "6fa5f1b17e1f"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    op.add_column("judgment", sa.Column("thumb", sa.String(length=4), nullable=True))
    op.add_column(
        "judgment",
        sa.Column("reasons", JSON, nullable=False, server_default=sa.text("'[]'")),
    )


def downgrade() -> None:
    op.drop_column("judgment", "reasons")
    op.drop_column("judgment", "thumb")
