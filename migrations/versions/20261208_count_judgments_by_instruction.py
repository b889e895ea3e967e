"""Count the judgments under each version of the instruction from an index.

Revision: 8e41b7c2d09a
Follows: 3c7a91e5d20b
"""

from alembic import op

revision = "8e41b7c2d09a"
down_revision = "3c7a91e5d20b"
branch_labels = None
depends_on = None

COLUMNS = ["project_id", "instruction_version", "is_current", "is_retraction"]


def upgrade() -> None:
    op.create_index("ix_judgment_instruction", "judgment", COLUMNS)


def downgrade() -> None:
    op.drop_index("ix_judgment_instruction", table_name="judgment")
