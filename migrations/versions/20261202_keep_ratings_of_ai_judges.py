"""Keep the ratings and thumbs of AI judges, beside their picks and rankings.

Going back deletes the AI judgments of comparisons that were rated or given a thumb: without these
columns they say nothing. A judge can be asked again.

Revision: 4f0b6ad2c915
Follows: d81a4f6e2b93
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "4f0b6ad2c915"
down_revision = "d81a4f6e2b93"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
SINGLE = "SELECT id FROM ai_judgment WHERE kind IN ('rate', 'thumbs')"


def upgrade() -> None:
    op.add_column("ai_judgment", sa.Column("ratings", JSON, nullable=True))
    op.add_column("ai_judgment", sa.Column("thumb", sa.String(length=4), nullable=True))


def downgrade() -> None:
    op.execute(f"DELETE FROM export_ai_judgment WHERE ai_judgment_id IN ({SINGLE})")
    op.execute("DELETE FROM ai_judgment WHERE kind IN ('rate', 'thumbs')")
    op.drop_column("ai_judgment", "thumb")
    op.drop_column("ai_judgment", "ratings")
