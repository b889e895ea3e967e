"""Keep chats with models: what was said, and the responses as they are written.

Revision: 4be17d93a0c6
Follows: e19b7d42c6a0
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import app.db.base

revision = "4be17d93a0c6"
down_revision = "e19b7d42c6a0"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
TIME = app.db.base.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "chat",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("first_id", KEY, nullable=False),
        sa.Column("second_id", KEY),
        sa.Column("reward_id", KEY),
        sa.Column("instruction", sa.String(), nullable=False),
        sa.Column("sampling", JSON, nullable=False),
        sa.Column("job_id", KEY),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(300), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_chat_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_chat_user_id")),
        sa.ForeignKeyConstraint(["first_id"], ["checkpoint.id"], name=op.f("fk_chat_first_id")),
        sa.ForeignKeyConstraint(["second_id"], ["checkpoint.id"], name=op.f("fk_chat_second_id")),
        sa.ForeignKeyConstraint(["reward_id"], ["checkpoint.id"], name=op.f("fk_chat_reward_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_chat_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat")),
    )
    op.create_index("ix_chat_open", "chat", ["project_id", "user_id", "is_open"])
    op.create_table(
        "chat_turn",
        sa.Column("id", KEY, nullable=False),
        sa.Column("chat_id", KEY, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_chat_turn_chat_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_turn")),
        sa.UniqueConstraint("chat_id", "n", name=op.f("uq_chat_turn_chat_id_n")),
    )
    op.create_table(
        "chat_reply",
        sa.Column("id", KEY, nullable=False),
        sa.Column("turn_id", KEY, nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.Column("draw", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double()),
        sa.Column("note", sa.String(300), nullable=False),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("ended_at", TIME),
        sa.ForeignKeyConstraint(["turn_id"], ["chat_turn.id"], name=op.f("fk_chat_reply_turn_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_reply")),
        sa.UniqueConstraint("turn_id", "side", name=op.f("uq_chat_reply_turn_id_side")),
    )


def downgrade() -> None:
    op.drop_table("chat_reply")
    op.drop_table("chat_turn")
    op.drop_index("ix_chat_open", table_name="chat")
    op.drop_table("chat")
