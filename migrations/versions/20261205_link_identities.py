"""Keep which people of a single sign-on provider have which accounts.

Going back forgets that; people without a password then need one from `attune user password`.

Revision: 91d4c6e0a7f5
Follows: 2e90b7c4d163
"""

import sqlalchemy as sa
from alembic import op

import app.db.base

revision = "91d4c6e0a7f5"
down_revision = "2e90b7c4d163"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = app.db.base.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "linked_identity",
        sa.Column("id", KEY, nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_linked_identity_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_linked_identity")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_linked_identity_issuer_subject")),
    )
    op.create_index("ix_linked_identity_user_id", "linked_identity", ["user_id"])


def downgrade() -> None:
    op.drop_table("linked_identity")
