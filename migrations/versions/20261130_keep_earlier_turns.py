"""Keep the turns between a prompt and a completion that responds to one of its follow-ups.

Revision: e5b80c1f92a4
Follows: 5d0c6f3a91e4
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "e5b80c1f92a4"
down_revision = "5d0c6f3a91e4"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


TABLES = ("completion", "results_row")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(
            table, sa.Column("earlier", JSON, server_default=sa.text("'[]'"), nullable=False)
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "earlier")
