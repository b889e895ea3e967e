"""Keep the figures of large projects, and find skips, flags and withdrawn comparisons quickly.

Revision: 8c41f0d2b7e6
Follows: 5e0c8d27ab94
"""

import sqlalchemy as sa
from alembic import op

revision = "8c41f0d2b7e6"
down_revision = "5e0c8d27ab94"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SKIPPED = sa.text("state = 'skipped'")
WITHDRAWN = sa.text("is_withdrawn")


def upgrade() -> None:
    op.create_table(
        "kept_figure",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("name", sa.String(300), nullable=False),
        sa.Column("stamp", sa.String(200), nullable=False),
        sa.Column("value", sa.String()),
        sa.Column("as_of", sa.DateTime(timezone=True)),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_kept_figure_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_figure")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_kept_figure_project_id_name")),
    )
    op.create_table(
        "figure_refresher",
        sa.Column("id", KEY, nullable=False),
        sa.Column("holder", sa.String(80), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_figure_refresher")),
    )
    op.create_index(
        "ix_assignment_skipped",
        "assignment",
        ["project_id"],
        sqlite_where=SKIPPED,
        postgresql_where=SKIPPED,
    )
    op.create_index(
        "ix_comparison_withdrawn",
        "comparison",
        ["project_id"],
        sqlite_where=WITHDRAWN,
        postgresql_where=WITHDRAWN,
    )
    op.create_index("ix_judgment_project_id", "judgment", ["project_id", "id"])
    op.create_index(
        "ix_judgment_flagged",
        "judgment",
        ["project_id", "comparison_id"],
        sqlite_where=sa.text("flags <> '[]'"),
        postgresql_where=sa.text("flags <> '[]'::jsonb"),
    )


def downgrade() -> None:
    op.drop_index("ix_judgment_flagged", table_name="judgment")
    op.drop_index("ix_judgment_project_id", table_name="judgment")
    op.drop_index("ix_comparison_withdrawn", table_name="comparison")
    op.drop_index("ix_assignment_skipped", table_name="assignment")
    op.drop_table("figure_refresher")
    op.drop_table("kept_figure")
