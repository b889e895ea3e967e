"""Keep why a comparison was chosen by a rule; of one that was drawn at random nothing is kept.

Going back forgets which comparisons were chosen, so figures then count them as drawn at random.

Revision: 8c3e71d05b46
Follows: b2d7a40c61e8
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "8c3e71d05b46"
down_revision = "b2d7a40c61e8"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    op.add_column("comparison", sa.Column("chosen", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("comparison", "chosen")
