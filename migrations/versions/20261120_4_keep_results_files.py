"""Store results files for the side-by-side view.

Revision: b41c5e7790ad
Follows: 8f30b6d1c52e
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import app.db.base

revision = "b41c5e7790ad"
down_revision = "8f30b6d1c52e"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    op.create_table(
        "results_file",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("created_by_id", KEY, nullable=True),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user.id"], name=op.f("fk_results_file_created_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_results_file_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results_file")),
        sa.UniqueConstraint("project_id", "sha256", name=op.f("uq_results_file_project_id_sha256")),
    )
    op.create_table(
        "results_row",
        sa.Column("id", KEY, nullable=False),
        sa.Column("file_id", KEY, nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("messages", JSON, nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"], ["results_file.id"], name=op.f("fk_results_row_file_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results_row")),
        sa.UniqueConstraint(
            "file_id", "content_hash", name=op.f("uq_results_row_file_id_content_hash")
        ),
    )


def downgrade() -> None:
    op.drop_table("results_row")
    op.drop_table("results_file")
