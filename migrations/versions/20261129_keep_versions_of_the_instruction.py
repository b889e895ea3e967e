"""Keep the versions of the instruction, and the version of each completion and judgment.

Revision: 93d1f0b7ce28
Follows: 8f2d61c09b37
"""

import sqlalchemy as sa
from alembic import op

import app.db.base

revision = "93d1f0b7ce28"
down_revision = "8f2d61c09b37"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "instruction",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("author_id", KEY, nullable=True),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_instruction_author_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_instruction_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instruction")),
        sa.UniqueConstraint(
            "project_id", "version", name=op.f("uq_instruction_project_id_version")
        ),
    )
    op.execute(
        "INSERT INTO instruction (project_id, version, text, created_at) "
        "SELECT id, 1, instruction, created_at FROM project"
    )
    op.add_column(
        "project",
        sa.Column("instruction_version", sa.Integer(), nullable=False, server_default="1"),
    )
    for table in ("completion", "judgment"):
        op.add_column(
            table,
            sa.Column("instruction_version", sa.Integer(), nullable=False, server_default="0"),
        )
    # Earlier versions are not known; what models and labelers of the project made gets version 1.
    op.execute(
        "UPDATE completion SET instruction_version = 1 "
        "WHERE checkpoint_id IS NOT NULL OR source_key LIKE 'server-%'"
    )
    op.execute(
        "UPDATE judgment SET instruction_version = 1 WHERE assignment_id NOT IN "
        "(SELECT id FROM assignment WHERE lease_token = 'import')"
    )


def downgrade() -> None:
    op.drop_column("judgment", "instruction_version")
    op.drop_column("completion", "instruction_version")
    op.drop_column("project", "instruction_version")
    op.drop_table("instruction")
