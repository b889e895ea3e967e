"""Keep when a project's next round starts automatically, and which rounds have.

Revision: b2d7a40c61e8
Follows: 4f0b6ad2c915
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import app.db.base

revision = "b2d7a40c61e8"
down_revision = "4f0b6ad2c915"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
TIME = app.db.base.UtcDateTime(timezone=True)
USERS = ("set_by_id", "paused_by_id")


def upgrade() -> None:
    op.create_table(
        "automatic_rounds",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("judgments", sa.Integer(), nullable=False),
        sa.Column("most_in_row", sa.Integer(), nullable=False),
        sa.Column("hours_between", sa.Double(), nullable=False),
        sa.Column("promotes", sa.Boolean(), nullable=False),
        sa.Column("plan", JSON, nullable=True),
        sa.Column("set_by_id", KEY, nullable=False),
        sa.Column("set_at", TIME, nullable=False),
        sa.Column("launched_in_row", sa.Integer(), nullable=False),
        sa.Column("launched_at", TIME, nullable=True),
        sa.Column("paused_at", TIME, nullable=True),
        sa.Column("paused_by_id", KEY, nullable=True),
        sa.Column("pause_reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_automatic_rounds_project_id")
        ),
        *(
            sa.ForeignKeyConstraint([name], ["user.id"], name=op.f(f"fk_automatic_rounds_{name}"))
            for name in USERS
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_automatic_rounds")),
        sa.UniqueConstraint("project_id", name=op.f("uq_automatic_rounds_project_id")),
    )
    op.add_column("project", sa.Column("automatic_look_from_id", KEY, nullable=True))
    op.add_column(
        "round",
        sa.Column("is_automatic", sa.Boolean(), server_default=sa.false(), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("round", "is_automatic")
    op.drop_column("project", "automatic_look_from_id")
    op.drop_table("automatic_rounds")
