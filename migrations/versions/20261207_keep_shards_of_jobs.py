"""Keep the shards of jobs, and which jobs help another.

Revision: 3c8d51f7a92e
Follows: 6f2b90d4c7e1
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import app.db.base

revision = "3c8d51f7a92e"
down_revision = "6f2b90d4c7e1"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
TIME = app.db.base.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.add_column("job", sa.Column("helps_id", KEY, nullable=True))
    op.create_index(op.f("ix_job_helps_id"), "job", ["helps_id"])
    op.create_table(
        "shard",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("work", sa.String(length=64), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("result", JSON, nullable=False),
        sa.Column("holder_id", KEY, nullable=True),
        sa.Column("holder_token", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=120), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_shard_job_id")),
        sa.ForeignKeyConstraint(["holder_id"], ["job.id"], name=op.f("fk_shard_holder_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shard")),
        sa.UniqueConstraint("job_id", "work", "n", name=op.f("uq_shard_job_id_work_n")),
    )


def downgrade() -> None:
    op.drop_table("shard")
    op.drop_index(op.f("ix_job_helps_id"), "job")
    op.drop_column("job", "helps_id")
