"""Mark the API tokens of services, which stay when their owner's password changes.

Revision: 5f0e2c9ab7d4
Follows: 7a3e5c18d9f4
"""

import sqlalchemy as sa
from alembic import op

revision = "5f0e2c9ab7d4"
down_revision = "7a3e5c18d9f4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_token",
        sa.Column("is_service", sa.Boolean(), server_default=sa.false(), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("api_token", "is_service")
