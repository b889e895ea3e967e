"""Keep which comparisons were asked while a policy trained, and at which step.

Revision: c81f5d2e7a40
Follows: 8c3e71d05b46
"""

import sqlalchemy as sa
from alembic import op

revision = "c81f5d2e7a40"
down_revision = "8c3e71d05b46"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OF = {"comparison_id": "comparison", "job_id": "job", "policy_completion_id": "completion"}


def upgrade() -> None:
    op.create_table(
        "fresh_comparison",
        sa.Column("comparison_id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("policy_completion_id", KEY, nullable=False),
        *(
            sa.ForeignKeyConstraint(
                [column], [f"{table}.id"], name=op.f(f"fk_fresh_comparison_{column}")
            )
            for column, table in OF.items()
        ),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_fresh_comparison")),
    )
    op.create_index("ix_fresh_comparison_job_id", "fresh_comparison", ["job_id"])


def downgrade() -> None:
    op.drop_index("ix_fresh_comparison_job_id", "fresh_comparison")
    op.drop_table("fresh_comparison")
