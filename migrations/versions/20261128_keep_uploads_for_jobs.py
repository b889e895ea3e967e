"""Keep large uploads for the jobs that import them.

Revision: 5e0c8d27ab94
Follows: d3a90c6f7e15
"""

import sqlalchemy as sa
from alembic import op

revision = "5e0c8d27ab94"
down_revision = "d3a90c6f7e15"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "import_job",
        sa.Column("import_id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("bytes", KEY, nullable=False),
        sa.Column("rows_done", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["import_run.id"], name=op.f("fk_import_job_import_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_import_job_job_id")),
        sa.PrimaryKeyConstraint("import_id", name=op.f("pk_import_job")),
        sa.UniqueConstraint("job_id", name=op.f("uq_import_job_job_id")),
    )
    op.create_table(
        "import_chunk",
        sa.Column("import_id", KEY, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["import_run.id"], name=op.f("fk_import_chunk_import_id")
        ),
        sa.PrimaryKeyConstraint("import_id", "n", name=op.f("pk_import_chunk")),
    )


def downgrade() -> None:
    op.drop_table("import_chunk")
    op.drop_table("import_job")
