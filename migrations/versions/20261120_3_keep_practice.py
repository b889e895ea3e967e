"""Store practice answers, who has passed practice, and who has seen the guide.

Revision: 8f30b6d1c52e
Follows: 2c7d91e0a4b8
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import app.db.base

revision = "8f30b6d1c52e"
down_revision = "2c7d91e0a4b8"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
MOMENT = app.db.base.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.add_column("membership", sa.Column("guide_dismissed_at", MOMENT, nullable=True))
    op.add_column(
        "membership", sa.Column("practice_run", sa.Integer(), nullable=False, server_default="1")
    )
    op.add_column("membership", sa.Column("practice_passed_at", MOMENT, nullable=True))
    op.create_table(
        "practice_answer",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("comparison_id", KEY, nullable=False),
        sa.Column("labeler_id", KEY, nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("answer", JSON, nullable=False),
        sa.Column("is_right", sa.Boolean(), nullable=False),
        sa.Column("shown_order", JSON, nullable=False),
        sa.Column("guidelines_version", sa.Integer(), nullable=False),
        sa.Column("submission_key", sa.String(length=64), nullable=False),
        sa.Column("submitted_at", MOMENT, nullable=False),
        sa.Column("active_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_practice_answer_comparison_id")
        ),
        sa.ForeignKeyConstraint(
            ["labeler_id"], ["user.id"], name=op.f("fk_practice_answer_labeler_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_practice_answer_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_answer")),
        sa.UniqueConstraint(
            "labeler_id",
            "comparison_id",
            "run",
            name=op.f("uq_practice_answer_labeler_id_comparison_id_run"),
        ),
        sa.UniqueConstraint(
            "labeler_id",
            "submission_key",
            name=op.f("uq_practice_answer_labeler_id_submission_key"),
        ),
    )
    op.create_index(op.f("ix_practice_answer_comparison_id"), "practice_answer", ["comparison_id"])
    op.create_index(op.f("ix_practice_answer_project_id"), "practice_answer", ["project_id"])


def downgrade() -> None:
    op.drop_table("practice_answer")
    op.drop_column("membership", "practice_passed_at")
    op.drop_column("membership", "practice_run")
    op.drop_column("membership", "guide_dismissed_at")
