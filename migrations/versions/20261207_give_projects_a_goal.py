"""Keep what a project is for; those that exist train in rounds.

Revision: 3c7a91e5d20b
Follows: 3c8d51f7a92e
"""

import sqlalchemy as sa
from alembic import op

revision = "3c7a91e5d20b"
down_revision = "3c8d51f7a92e"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "project", sa.Column("goal", sa.String(20), server_default="train", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("project", "goal")
