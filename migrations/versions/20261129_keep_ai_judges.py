"""Keep AI judges and their judgments, apart from those of people.

Revision: c7e2a90d41f3
Follows: c47a0e9b12d5
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import app.db.base

revision = "c7e2a90d41f3"
down_revision = "c47a0e9b12d5"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
TIME = app.db.base.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "judge",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("pseudonym", sa.String(length=20), nullable=False),
        sa.Column("setup", JSON, nullable=False),
        sa.Column("limits", JSON, nullable=False),
        sa.Column("alone_reason", sa.String(), nullable=False),
        sa.Column("alone_by_id", KEY, nullable=True),
        sa.Column("alone_at", TIME, nullable=True),
        sa.Column("created_by_id", KEY, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("archived_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["alone_by_id"], ["user.id"], name=op.f("fk_judge_alone_by_id")),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user.id"], name=op.f("fk_judge_created_by_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_judge_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judge")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_judge_project_id_name")),
        sa.UniqueConstraint("project_id", "pseudonym", name=op.f("uq_judge_project_id_pseudonym")),
    )
    op.create_table(
        "ai_judgment",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("judge_id", KEY, nullable=False),
        sa.Column("comparison_id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("ranking", JSON, nullable=True),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column("is_consistent", sa.Boolean(), nullable=False),
        sa.Column("orders", JSON, nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("tokens_in", sa.Integer(), nullable=True),
        sa.Column("tokens_out", sa.Integer(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("guidelines_version", sa.Integer(), nullable=False),
        sa.Column("instruction_version", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_ai_judgment_comparison_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_ai_judgment_job_id")),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_ai_judgment_judge_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_ai_judgment_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ai_judgment")),
        sa.UniqueConstraint(
            "judge_id", "comparison_id", name=op.f("uq_ai_judgment_judge_id_comparison_id")
        ),
    )
    op.create_index(op.f("ix_ai_judgment_project_id"), "ai_judgment", ["project_id"])
    op.create_index(op.f("ix_ai_judgment_comparison_id"), "ai_judgment", ["comparison_id"])
    op.create_table(
        "export_ai_judgment",
        sa.Column("export_id", KEY, nullable=False),
        sa.Column("ai_judgment_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["ai_judgment_id"],
            ["ai_judgment.id"],
            name=op.f("fk_export_ai_judgment_ai_judgment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["export_id"], ["export.id"], name=op.f("fk_export_ai_judgment_export_id")
        ),
        sa.PrimaryKeyConstraint("export_id", "ai_judgment_id", name=op.f("pk_export_ai_judgment")),
    )
    op.create_index(
        op.f("ix_export_ai_judgment_ai_judgment_id"), "export_ai_judgment", ["ai_judgment_id"]
    )


def downgrade() -> None:
    op.drop_table("export_ai_judgment")
    op.drop_table("ai_judgment")
    op.drop_table("judge")
