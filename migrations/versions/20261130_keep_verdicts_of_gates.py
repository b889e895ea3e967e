"""Keep the verdicts of a round's gates, and what people decided.

Revision: 7a3e5c18d9f4
Follows: 2c95e0b7f418
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import app.db.base

revision = "7a3e5c18d9f4"
down_revision = "2c95e0b7f418"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
TIME = app.db.base.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "gate_verdict",
        sa.Column("id", KEY, nullable=False),
        sa.Column("round_id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("stage", sa.String(length=20), nullable=False),
        sa.Column("gate", sa.String(length=20), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("figures", JSON, nullable=False),
        sa.Column("remedy", sa.String(length=40), nullable=False),
        sa.Column("remedy_label", sa.String(length=200), nullable=False),
        sa.Column("changes", JSON, nullable=False),
        sa.Column("redo", sa.String(length=20), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("decided_by_id", KEY, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("decided_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["decided_by_id"], ["user.id"], name=op.f("fk_gate_verdict_decided_by_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_gate_verdict_job_id")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_gate_verdict_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_verdict")),
    )
    op.create_index(op.f("ix_gate_verdict_round_id"), "gate_verdict", ["round_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_gate_verdict_round_id"), table_name="gate_verdict")
    op.drop_table("gate_verdict")
