"""Keep the turns between a prompt and a scored response to a follow-up.

Revision: 2c95e0b7f418
Follows: 4be17d93a0c6
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2c95e0b7f418"
down_revision = "4be17d93a0c6"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    empty = sa.text("'[]'")
    op.add_column("scored_row", sa.Column("earlier", JSON, nullable=False, server_default=empty))


def downgrade() -> None:
    op.drop_column("scored_row", "earlier")
