"""Keep the parts of a combined reward with each sample of a training.

Revision: 5d0c6f3a91e4
Follows: c7e2a90d41f3
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "5d0c6f3a91e4"
down_revision = "c7e2a90d41f3"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    none = sa.text("'{}'")
    column = sa.Column("parts", JSON, nullable=False, server_default=none)
    op.add_column("training_sample", column)


def downgrade() -> None:
    op.drop_column("training_sample", "parts")
