"""Keep second factors, their recovery codes, and sign-ins that wait for a code.

Going back turns two-factor authentication off for everyone.

Revision: 2e90b7c4d163
Follows: c81f5d2e7a40
"""

import sqlalchemy as sa
from alembic import op

import app.db.base

revision = "2e90b7c4d163"
down_revision = "c81f5d2e7a40"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = app.db.base.UtcDateTime(timezone=True)
TABLES = ("pending_sign_in", "recovery_code", "second_factor")


def upgrade() -> None:
    _create(
        "second_factor",
        sa.Column("sealed_secret", sa.String(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("confirmed_at", TIME, nullable=True),
        sa.UniqueConstraint("user_id", name=op.f("uq_second_factor_user_id")),
    )
    _create(
        "recovery_code",
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.UniqueConstraint("code_hash", name=op.f("uq_recovery_code_code_hash")),
    )
    _create(
        "pending_sign_in",
        sa.Column("id_hash", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.UniqueConstraint("id_hash", name=op.f("uq_pending_sign_in_id_hash")),
    )
    for table in ("recovery_code", "pending_sign_in"):
        op.create_index(f"ix_{table}_user_id", table, ["user_id"])


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)


def _create(table: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(
        table,
        sa.Column("id", KEY, nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        *parts,
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f(f"fk_{table}_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
