"""Keep scorings: responses scored by a classifier, reward model, endpoint or rule.

Revision: e19b7d42c6a0
Follows: e5b80c1f92a4
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import app.db.base

revision = "e19b7d42c6a0"
down_revision = "e5b80c1f92a4"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
TIME = app.db.base.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "scoring",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("scorer", JSON, nullable=False),
        sa.Column("sides", JSON, nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("is_judged", sa.Boolean(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("is_high_bad", sa.Boolean(), nullable=False),
        sa.Column("remarks", JSON, nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("created_by_id", KEY, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user.id"], name=op.f("fk_scoring_created_by_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_scoring_job_id")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_scoring_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scoring")),
    )
    op.create_index(op.f("ix_scoring_project_id"), "scoring", ["project_id"])
    op.create_table(
        "scored_row",
        sa.Column("id", KEY, nullable=False),
        sa.Column("scoring_id", KEY, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("prompt_id", KEY, nullable=True),
        sa.Column("subset", sa.String(length=120), nullable=False),
        sa.Column("messages", JSON, nullable=False),
        sa.Column("texts", JSON, nullable=False),
        sa.Column("scores", JSON, nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_scored_row_prompt_id")),
        sa.ForeignKeyConstraint(
            ["scoring_id"], ["scoring.id"], name=op.f("fk_scored_row_scoring_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scored_row")),
        sa.UniqueConstraint("scoring_id", "place", name=op.f("uq_scored_row_scoring_id_place")),
    )


def downgrade() -> None:
    op.drop_table("scored_row")
    op.drop_index(op.f("ix_scoring_project_id"), table_name="scoring")
    op.drop_table("scoring")
