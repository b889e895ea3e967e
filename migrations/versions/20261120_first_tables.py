"""Create the first tables.

Revision: 6fa5f1b17e1f
Follows: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import app.db.base

revision = "6fa5f1b17e1f"
down_revision = None
branch_labels = None
depends_on = None


# Foreign keys that close a cycle: SQLite declares them with the table, other databases afterwards.
CIRCLES = (
    ("fk_project_policy_checkpoint_id", "project", "checkpoint", "policy_checkpoint_id"),
    ("fk_project_sft_checkpoint_id", "project", "checkpoint", "sft_checkpoint_id"),
    ("fk_export_job_id", "export", "job", "job_id"),
    ("fk_round_policy_before_id", "round", "checkpoint", "policy_before_id"),
    ("fk_round_policy_checkpoint_id", "round", "checkpoint", "policy_checkpoint_id"),
    ("fk_round_reward_checkpoint_id", "round", "checkpoint", "reward_checkpoint_id"),
)


def upgrade() -> None:
    op.create_table(
        "project",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("slug", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("instruction", sa.String(), nullable=False),
        sa.Column("judgment_kind", sa.String(length=20), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("strength_steps", sa.Integer(), nullable=False),
        sa.Column("allow_tie", sa.Boolean(), nullable=False),
        sa.Column("allow_both_bad", sa.Boolean(), nullable=False),
        sa.Column("rating_max", sa.Integer(), nullable=False),
        sa.Column("gold_rate", sa.Double(), nullable=False),
        sa.Column("repeat_rate", sa.Double(), nullable=False),
        sa.Column("evaluation_rate", sa.Double(), nullable=False),
        sa.Column("practice_pass_share", sa.Double(), nullable=True),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=True),
        sa.Column(
            "sft_checkpoint_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column(
            "policy_checkpoint_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column("split_seed", sa.Integer(), nullable=False),
        sa.Column(
            "settings",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("median_active_ms", sa.Integer(), nullable=True),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("archived_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["policy_checkpoint_id"],
            ["checkpoint.id"],
            name=op.f("fk_project_policy_checkpoint_id"),
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(
            ["sft_checkpoint_id"],
            ["checkpoint.id"],
            name=op.f("fk_project_sft_checkpoint_id"),
            use_alter=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("slug", name=op.f("uq_project_slug")),
    )
    op.create_table(
        "sign_in_failure",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_failure")),
    )
    op.create_index(
        op.f("ix_sign_in_failure_key_hash"), "sign_in_failure", ["key_hash"], unique=False
    )
    op.create_table(
        "user",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("single_keys", sa.Boolean(), nullable=False),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("email", name=op.f("uq_user_email")),
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column(
            "scopes",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_api_token_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_token_token_hash")),
    )
    op.create_index(op.f("ix_api_token_user_id"), "api_token", ["user_id"], unique=False)
    op.create_table(
        "audit_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column(
            "details",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["user.id"], name=op.f("fk_audit_event_actor_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_audit_event_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_event_hash")),
        sa.UniqueConstraint("previous_hash", name=op.f("uq_audit_event_previous_hash")),
    )
    op.create_index(op.f("ix_audit_event_project_id"), "audit_event", ["project_id"], unique=False)
    op.create_table(
        "criterion",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("help", sa.String(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_criterion_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_criterion")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_criterion_project_id_name")),
    )
    op.create_table(
        "export",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(length=40), nullable=False),
        sa.Column(
            "options",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column(
            "manifest",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "created_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("ready_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user.id"], name=op.f("fk_export_created_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_export_job_id"), use_alter=True
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_export_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export")),
        sa.UniqueConstraint("job_id", name=op.f("uq_export_job_id")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_export_project_id_number")),
    )
    op.create_table(
        "guidelines",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("rules", sa.String(), nullable=False),
        sa.Column("edge_cases", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("summary", sa.String(length=300), nullable=False),
        sa.Column("author_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_guidelines_author_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_guidelines_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guidelines")),
        sa.UniqueConstraint("project_id", "version", name=op.f("uq_guidelines_project_id_version")),
    )
    op.create_table(
        "import_run",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("filename", sa.String(length=200), nullable=False),
        sa.Column("format", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column(
            "counts",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "rejects",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "created_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user.id"], name=op.f("fk_import_run_created_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_import_run_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_run")),
    )
    op.create_index(op.f("ix_import_run_project_id"), "import_run", ["project_id"], unique=False)
    op.create_table(
        "invitation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column(
            "created_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("used_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column(
            "used_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user.id"], name=op.f("fk_invitation_created_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_invitation_project_id")
        ),
        sa.ForeignKeyConstraint(["used_by_id"], ["user.id"], name=op.f("fk_invitation_used_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitation_token_hash")),
    )
    op.create_index(op.f("ix_invitation_project_id"), "invitation", ["project_id"], unique=False)
    op.create_table(
        "login_session",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("user_agent", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_login_session_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_session")),
        sa.UniqueConstraint("id_hash", name=op.f("uq_login_session_id_hash")),
    )
    op.create_index(op.f("ix_login_session_user_id"), "login_session", ["user_id"], unique=False)
    op.create_table(
        "membership",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("pseudonym", sa.String(length=20), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("guidelines_read_version", sa.Integer(), nullable=False),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_membership_project_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_membership_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_membership")),
        sa.UniqueConstraint(
            "project_id", "pseudonym", name=op.f("uq_membership_project_id_pseudonym")
        ),
        sa.UniqueConstraint("project_id", "user_id", name=op.f("uq_membership_project_id_user_id")),
    )
    op.create_index(op.f("ix_membership_user_id"), "membership", ["user_id"], unique=False)
    op.create_table(
        "prompt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "messages",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "follow_up",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("split", sa.String(length=20), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=120), nullable=False),
        sa.Column("source_key", sa.String(length=200), nullable=False),
        sa.Column(
            "meta",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("author_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_prompt_author_id")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_prompt_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt")),
        sa.UniqueConstraint(
            "project_id", "content_hash", name=op.f("uq_prompt_project_id_content_hash")
        ),
    )
    op.create_index(
        "ix_prompt_project_id_split", "prompt", ["project_id", "split", "id"], unique=False
    )
    op.create_table(
        "round",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column(
            "plan",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column(
            "policy_before_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column(
            "reward_checkpoint_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column(
            "policy_checkpoint_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column(
            "created_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("ended_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user.id"], name=op.f("fk_round_created_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["policy_before_id"],
            ["checkpoint.id"],
            name=op.f("fk_round_policy_before_id"),
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(
            ["policy_checkpoint_id"],
            ["checkpoint.id"],
            name=op.f("fk_round_policy_checkpoint_id"),
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_round_project_id")),
        sa.ForeignKeyConstraint(
            ["reward_checkpoint_id"],
            ["checkpoint.id"],
            name=op.f("fk_round_reward_checkpoint_id"),
            use_alter=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_round_project_id_number")),
    )
    op.create_table(
        "demonstration",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "prompt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=120), nullable=False),
        sa.Column("author_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["author_id"], ["user.id"], name=op.f("fk_demonstration_author_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_demonstration_project_id")
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_demonstration_prompt_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_demonstration")),
        sa.UniqueConstraint(
            "prompt_id", "content_hash", name=op.f("uq_demonstration_prompt_id_content_hash")
        ),
    )
    op.create_index(
        op.f("ix_demonstration_project_id"), "demonstration", ["project_id"], unique=False
    )
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("round_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("queue", sa.String(length=20), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("natural_key", sa.String(length=160), nullable=True),
        sa.Column(
            "payload",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "result",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("lease_token", sa.Integer(), nullable=False),
        sa.Column("lease_expires_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.String(length=120), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("progress_done", sa.Integer(), nullable=False),
        sa.Column("progress_total", sa.Integer(), nullable=False),
        sa.Column("progress_note", sa.String(length=200), nullable=False),
        sa.Column("fenced_writes", sa.Integer(), nullable=False),
        sa.Column(
            "created_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("not_before", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("started_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("ended_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["created_by_id"], ["user.id"], name=op.f("fk_job_created_by_id")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_job_project_id")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_job_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("natural_key", name=op.f("uq_job_natural_key")),
    )
    op.create_index(op.f("ix_job_project_id"), "job", ["project_id"], unique=False)
    op.create_index(op.f("ix_job_round_id"), "job", ["round_id"], unique=False)
    op.create_index("ix_job_runnable", "job", ["queue", "state", "priority", "id"], unique=False)
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("parent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("round_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column(
            "config",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "metrics",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_checkpoint_job_id")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["checkpoint.id"], name=op.f("fk_checkpoint_parent_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_checkpoint_project_id")
        ),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_checkpoint_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("job_id", "kind", name=op.f("uq_checkpoint_job_id_kind")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_checkpoint_project_id_name")),
    )
    op.create_index(op.f("ix_checkpoint_round_id"), "checkpoint", ["round_id"], unique=False)
    op.create_table(
        "job_attempt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("lease_token", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=120), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("started_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("ended_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("log", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_attempt_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_attempt")),
        sa.UniqueConstraint(
            "job_id", "lease_token", name=op.f("uq_job_attempt_job_id_lease_token")
        ),
    )
    op.create_table(
        "metric",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_metric_job_id")),
        sa.PrimaryKeyConstraint("job_id", "name", "step", name=op.f("pk_metric")),
    )
    op.create_table(
        "training_sample",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("completion", sa.String(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_training_sample_job_id")),
        sa.PrimaryKeyConstraint("job_id", "step", "n", name=op.f("pk_training_sample")),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "queues",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("device", sa.String(length=120), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("started_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("seen_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_worker_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        sa.UniqueConstraint("name", name=op.f("uq_worker_name")),
    )
    op.create_table(
        "checkpoint_input",
        sa.Column(
            "checkpoint_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "export_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoint.id"], name=op.f("fk_checkpoint_input_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(
            ["export_id"], ["export.id"], name=op.f("fk_checkpoint_input_export_id")
        ),
        sa.PrimaryKeyConstraint("checkpoint_id", "export_id", name=op.f("pk_checkpoint_input")),
    )
    op.create_index(
        op.f("ix_checkpoint_input_export_id"), "checkpoint_input", ["export_id"], unique=False
    )
    op.create_table(
        "completion",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "prompt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "checkpoint_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("source", sa.String(length=120), nullable=False),
        sa.Column("source_key", sa.String(length=160), nullable=False),
        sa.Column("sample_index", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column(
            "token_ids",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=True,
        ),
        sa.Column("is_finished", sa.Boolean(), nullable=False),
        sa.Column("finish_reason", sa.String(length=20), nullable=False),
        sa.Column("logprob_sum", sa.Double(), nullable=True),
        sa.Column(
            "sampling",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("author_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user.id"], name=op.f("fk_completion_author_id")),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoint.id"], name=op.f("fk_completion_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_completion_project_id")
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_completion_prompt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_completion")),
        sa.UniqueConstraint(
            "prompt_id",
            "source_key",
            "sample_index",
            name=op.f("uq_completion_prompt_id_source_key_sample_index"),
        ),
    )
    op.create_index("ix_completion_checkpoint_id", "completion", ["checkpoint_id"], unique=False)
    op.create_index(op.f("ix_completion_project_id"), "completion", ["project_id"], unique=False)
    op.create_table(
        "evaluation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("round_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "new_checkpoint_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column(
            "old_checkpoint_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column(
            "results",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("completed_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["new_checkpoint_id"], ["checkpoint.id"], name=op.f("fk_evaluation_new_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(
            ["old_checkpoint_id"], ["checkpoint.id"], name=op.f("fk_evaluation_old_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_evaluation_project_id")
        ),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_evaluation_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint(
            "round_id",
            "new_checkpoint_id",
            "old_checkpoint_id",
            name=op.f("uq_evaluation_round_id_new_checkpoint_id_old_checkpoint_id"),
        ),
    )
    op.create_index(op.f("ix_evaluation_project_id"), "evaluation", ["project_id"], unique=False)
    op.create_table(
        "comparison",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "prompt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("round_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "evaluation_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("open_slots", sa.Integer(), nullable=False),
        sa.Column("done_slots", sa.Integer(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("is_withdrawn", sa.Boolean(), nullable=False),
        sa.Column("origin_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "only_labeler_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column(
            "gold_answer",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=True,
        ),
        sa.Column("gold_reason", sa.String(), nullable=False),
        sa.Column("natural_key", sa.String(length=160), nullable=False),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("done_slots >= 0", name=op.f("ck_comparison_done_slots")),
        sa.CheckConstraint("open_slots >= 0", name=op.f("ck_comparison_open_slots")),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_comparison_evaluation_id")
        ),
        sa.ForeignKeyConstraint(
            ["only_labeler_id"], ["user.id"], name=op.f("fk_comparison_only_labeler_id")
        ),
        sa.ForeignKeyConstraint(
            ["origin_id"], ["comparison.id"], name=op.f("fk_comparison_origin_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_comparison_project_id")
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_comparison_prompt_id")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_comparison_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparison")),
        sa.UniqueConstraint(
            "project_id", "natural_key", name=op.f("uq_comparison_project_id_natural_key")
        ),
    )
    op.create_index(
        op.f("ix_comparison_evaluation_id"), "comparison", ["evaluation_id"], unique=False
    )
    op.create_index(op.f("ix_comparison_prompt_id"), "comparison", ["prompt_id"], unique=False)
    op.create_index(
        "ix_comparison_queue",
        "comparison",
        ["project_id", "purpose", "is_open", "priority", "done_slots", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_comparison_round_id"), "comparison", ["round_id"], unique=False)
    op.create_index(
        "ix_comparison_unfinished",
        "comparison",
        ["round_id", "purpose"],
        unique=False,
        sqlite_where=sa.text("done_slots < overlap AND NOT is_withdrawn"),
        postgresql_where=sa.text("done_slots < overlap AND NOT is_withdrawn"),
    )
    op.create_table(
        "adjudication",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "comparison_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "adjudicator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("preferred", sa.String(length=3), nullable=True),
        sa.Column(
            "ranking",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=True,
        ),
        sa.Column("both_bad", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("guidelines_version", sa.Integer(), nullable=False),
        sa.Column("created_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["adjudicator_id"], ["user.id"], name=op.f("fk_adjudication_adjudicator_id")
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_adjudication_comparison_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_adjudication_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjudication")),
    )
    op.create_index(
        op.f("ix_adjudication_comparison_id"), "adjudication", ["comparison_id"], unique=False
    )
    op.create_index(
        op.f("ix_adjudication_project_id"), "adjudication", ["project_id"], unique=False
    )
    op.create_table(
        "comparison_completion",
        sa.Column(
            "comparison_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "completion_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["comparison.id"],
            name=op.f("fk_comparison_completion_comparison_id"),
        ),
        sa.ForeignKeyConstraint(
            ["completion_id"],
            ["completion.id"],
            name=op.f("fk_comparison_completion_completion_id"),
        ),
        sa.PrimaryKeyConstraint("comparison_id", "position", name=op.f("pk_comparison_completion")),
        sa.UniqueConstraint(
            "comparison_id",
            "completion_id",
            name=op.f("uq_comparison_completion_comparison_id_completion_id"),
        ),
    )
    op.create_index(
        op.f("ix_comparison_completion_completion_id"),
        "comparison_completion",
        ["completion_id"],
        unique=False,
    )
    op.create_table(
        "slot",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "comparison_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_slot_comparison_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slot")),
        sa.UniqueConstraint("comparison_id", "n", name=op.f("uq_slot_comparison_id_n")),
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "comparison_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("slot_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "labeler_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("lease_token", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column(
            "shown_order",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("leased_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("ended_at", app.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("skip_reason", sa.String(length=60), nullable=False),
        sa.Column("skip_comment", sa.String(), nullable=False),
        sa.Column("submission_key", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_assignment_comparison_id")
        ),
        sa.ForeignKeyConstraint(["labeler_id"], ["user.id"], name=op.f("fk_assignment_labeler_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_assignment_project_id")
        ),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name=op.f("fk_assignment_slot_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
    )
    op.create_index("ix_assignment_comparison", "assignment", ["comparison_id"], unique=False)
    op.create_index(
        "ix_assignment_expiry", "assignment", ["project_id", "state", "expires_at"], unique=False
    )
    op.create_index(
        "ix_assignment_labeler", "assignment", ["labeler_id", "project_id", "state"], unique=False
    )
    op.create_index(
        "uq_assignment_labeler_comparison",
        "assignment",
        ["labeler_id", "comparison_id"],
        unique=True,
        sqlite_where=sa.text("state NOT IN ('released', 'expired')"),
        postgresql_where=sa.text("state NOT IN ('released', 'expired')"),
    )
    op.create_index(
        "uq_assignment_live_slot",
        "assignment",
        ["slot_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('leased', 'submitted')"),
        postgresql_where=sa.text("state IN ('leased', 'submitted')"),
    )
    op.create_table(
        "judgment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "assignment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "comparison_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "labeler_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column(
            "supersedes_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("is_retraction", sa.Boolean(), nullable=False),
        sa.Column("is_surplus", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("preferred", sa.String(length=3), nullable=True),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column(
            "ranking",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=True,
        ),
        sa.Column(
            "ratings",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=True,
        ),
        sa.Column("both_bad", sa.Boolean(), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column(
            "flags",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column(
            "shown_order",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("guidelines_version", sa.Integer(), nullable=False),
        sa.Column("submission_key", sa.String(length=64), nullable=False),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column("started_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("submitted_at", app.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("active_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name=op.f("fk_judgment_assignment_id")
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_judgment_comparison_id")
        ),
        sa.ForeignKeyConstraint(["labeler_id"], ["user.id"], name=op.f("fk_judgment_labeler_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_judgment_project_id")
        ),
        sa.ForeignKeyConstraint(
            ["supersedes_id"], ["judgment.id"], name=op.f("fk_judgment_supersedes_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgment")),
        sa.UniqueConstraint(
            "assignment_id", "revision", name=op.f("uq_judgment_assignment_id_revision")
        ),
        sa.UniqueConstraint(
            "labeler_id", "submission_key", name=op.f("uq_judgment_labeler_id_submission_key")
        ),
    )
    op.create_index("ix_judgment_comparison", "judgment", ["comparison_id"], unique=False)
    op.create_index(
        "ix_judgment_labeler",
        "judgment",
        ["labeler_id", "project_id", "submitted_at"],
        unique=False,
    )
    op.create_index(
        "ix_judgment_project_current",
        "judgment",
        ["project_id", "is_current", "comparison_id"],
        unique=False,
    )
    op.create_index(
        "uq_judgment_current",
        "judgment",
        ["assignment_id"],
        unique=True,
        sqlite_where=sa.text("is_current"),
        postgresql_where=sa.text("is_current"),
    )
    op.create_table(
        "export_judgment",
        sa.Column(
            "export_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "judgment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["export_id"], ["export.id"], name=op.f("fk_export_judgment_export_id")
        ),
        sa.ForeignKeyConstraint(
            ["judgment_id"], ["judgment.id"], name=op.f("fk_export_judgment_judgment_id")
        ),
        sa.PrimaryKeyConstraint("export_id", "judgment_id", name=op.f("pk_export_judgment")),
    )
    op.create_index(
        op.f("ix_export_judgment_judgment_id"), "export_judgment", ["judgment_id"], unique=False
    )
    if op.get_bind().dialect.name != "sqlite":
        for name, source, target, column in CIRCLES:
            op.create_foreign_key(name, source, target, [column], ["id"])


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        for name, source, _, _ in CIRCLES:
            op.drop_constraint(name, source, type_="foreignkey")
    op.drop_index(op.f("ix_export_judgment_judgment_id"), table_name="export_judgment")
    op.drop_table("export_judgment")
    op.drop_index(
        "uq_judgment_current",
        table_name="judgment",
        sqlite_where=sa.text("is_current"),
        postgresql_where=sa.text("is_current"),
    )
    op.drop_index("ix_judgment_project_current", table_name="judgment")
    op.drop_index("ix_judgment_labeler", table_name="judgment")
    op.drop_index("ix_judgment_comparison", table_name="judgment")
    op.drop_table("judgment")
    op.drop_index(
        "uq_assignment_live_slot",
        table_name="assignment",
        sqlite_where=sa.text("state IN ('leased', 'submitted')"),
        postgresql_where=sa.text("state IN ('leased', 'submitted')"),
    )
    op.drop_index(
        "uq_assignment_labeler_comparison",
        table_name="assignment",
        sqlite_where=sa.text("state NOT IN ('released', 'expired')"),
        postgresql_where=sa.text("state NOT IN ('released', 'expired')"),
    )
    op.drop_index("ix_assignment_labeler", table_name="assignment")
    op.drop_index("ix_assignment_expiry", table_name="assignment")
    op.drop_index("ix_assignment_comparison", table_name="assignment")
    op.drop_table("assignment")
    op.drop_table("slot")
    op.drop_index(
        op.f("ix_comparison_completion_completion_id"), table_name="comparison_completion"
    )
    op.drop_table("comparison_completion")
    op.drop_index(op.f("ix_adjudication_project_id"), table_name="adjudication")
    op.drop_index(op.f("ix_adjudication_comparison_id"), table_name="adjudication")
    op.drop_table("adjudication")
    op.drop_index(
        "ix_comparison_unfinished",
        table_name="comparison",
        sqlite_where=sa.text("done_slots < overlap AND NOT is_withdrawn"),
        postgresql_where=sa.text("done_slots < overlap AND NOT is_withdrawn"),
    )
    op.drop_index(op.f("ix_comparison_round_id"), table_name="comparison")
    op.drop_index("ix_comparison_queue", table_name="comparison")
    op.drop_index(op.f("ix_comparison_prompt_id"), table_name="comparison")
    op.drop_index(op.f("ix_comparison_evaluation_id"), table_name="comparison")
    op.drop_table("comparison")
    op.drop_index(op.f("ix_evaluation_project_id"), table_name="evaluation")
    op.drop_table("evaluation")
    op.drop_index(op.f("ix_completion_project_id"), table_name="completion")
    op.drop_index("ix_completion_checkpoint_id", table_name="completion")
    op.drop_table("completion")
    op.drop_index(op.f("ix_checkpoint_input_export_id"), table_name="checkpoint_input")
    op.drop_table("checkpoint_input")
    op.drop_table("worker")
    op.drop_table("training_sample")
    op.drop_table("metric")
    op.drop_table("job_attempt")
    op.drop_index(op.f("ix_checkpoint_round_id"), table_name="checkpoint")
    op.drop_table("checkpoint")
    op.drop_index("ix_job_runnable", table_name="job")
    op.drop_index(op.f("ix_job_round_id"), table_name="job")
    op.drop_index(op.f("ix_job_project_id"), table_name="job")
    op.drop_table("job")
    op.drop_index(op.f("ix_demonstration_project_id"), table_name="demonstration")
    op.drop_table("demonstration")
    op.drop_table("round")
    op.drop_index("ix_prompt_project_id_split", table_name="prompt")
    op.drop_table("prompt")
    op.drop_index(op.f("ix_membership_user_id"), table_name="membership")
    op.drop_table("membership")
    op.drop_index(op.f("ix_login_session_user_id"), table_name="login_session")
    op.drop_table("login_session")
    op.drop_index(op.f("ix_invitation_project_id"), table_name="invitation")
    op.drop_table("invitation")
    op.drop_index(op.f("ix_import_run_project_id"), table_name="import_run")
    op.drop_table("import_run")
    op.drop_table("guidelines")
    op.drop_table("export")
    op.drop_table("criterion")
    op.drop_index(op.f("ix_audit_event_project_id"), table_name="audit_event")
    op.drop_table("audit_event")
    op.drop_index(op.f("ix_api_token_user_id"), table_name="api_token")
    op.drop_table("api_token")
    op.drop_table("user")
    op.drop_index(op.f("ix_sign_in_failure_key_hash"), table_name="sign_in_failure")
    op.drop_table("sign_in_failure")
    op.drop_table("project")
