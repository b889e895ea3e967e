"""Label prompts by category and tag, and index what the lists are filtered by.

Categories and tags that imported prompts have in their notes are filled in.

Revision: 7c1f04e8d2b6
Follows: 91b7e3d05c2a
"""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "7c1f04e8d2b6"
down_revision = "91b7e3d05c2a"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UNCOUNTED = sa.text("NOT is_current OR is_retraction OR is_surplus")
PAGE = 5_000
# As they were when this migration was written.
CATEGORY_KEYS = ("category", "subset", "domain")
CATEGORY_LONGEST, TAG_LONGEST = 120, 60


def upgrade() -> None:
    op.add_column(
        "project",
        sa.Column("prompt_changes", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "prompt", sa.Column("category", sa.String(120), server_default="", nullable=False)
    )
    op.create_table(
        "prompt_tag",
        sa.Column("prompt_id", KEY, nullable=False),
        sa.Column("tag", sa.String(60), nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_prompt_tag_prompt_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_prompt_tag_project_id")
        ),
        sa.PrimaryKeyConstraint("prompt_id", "tag", name=op.f("pk_prompt_tag")),
    )
    op.create_table(
        "prompt_edit",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("value", sa.String(120), nullable=False),
        sa.Column("prompts", sa.Integer(), nullable=False),
        sa.Column("actor_id", KEY, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_prompt_edit_project_id")
        ),
        sa.ForeignKeyConstraint(["actor_id"], ["user.id"], name=op.f("fk_prompt_edit_actor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt_edit")),
    )
    op.create_index(op.f("ix_prompt_edit_project_id"), "prompt_edit", ["project_id"])
    op.create_table(
        "prompt_edit_item",
        sa.Column("edit_id", KEY, nullable=False),
        sa.Column("prompt_id", KEY, nullable=False),
        sa.Column("category_before", sa.String(120), nullable=False),
        sa.ForeignKeyConstraint(
            ["edit_id"], ["prompt_edit.id"], name=op.f("fk_prompt_edit_item_edit_id")
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_prompt_edit_item_prompt_id")
        ),
        sa.PrimaryKeyConstraint("edit_id", "prompt_id", name=op.f("pk_prompt_edit_item")),
    )
    fill_from_notes(op.get_bind())
    op.create_index("ix_prompt_project_id_category", "prompt", ["project_id", "category", "id"])
    op.create_index("ix_prompt_project_id_source", "prompt", ["project_id", "source", "id"])
    op.create_index(
        "ix_prompt_tag_project_id_tag", "prompt_tag", ["project_id", "tag", "prompt_id"]
    )
    op.create_index("ix_completion_project_id_source", "completion", ["project_id", "source"])
    op.drop_index("ix_completion_project_id", "completion")
    op.create_index(
        "ix_comparison_project_id_created_at", "comparison", ["project_id", "created_at"]
    )
    op.create_index(
        "ix_judgment_project_id_version", "judgment", ["project_id", "guidelines_version", "id"]
    )
    op.create_index(
        "ix_judgment_uncounted",
        "judgment",
        ["project_id", "id"],
        sqlite_where=UNCOUNTED,
        postgresql_where=UNCOUNTED,
    )


def downgrade() -> None:
    op.drop_index(
        "ix_judgment_uncounted", "judgment", sqlite_where=UNCOUNTED, postgresql_where=UNCOUNTED
    )
    op.drop_index("ix_judgment_project_id_version", "judgment")
    op.drop_index("ix_comparison_project_id_created_at", "comparison")
    op.create_index("ix_completion_project_id", "completion", ["project_id"])
    op.drop_index("ix_completion_project_id_source", "completion")
    op.drop_index("ix_prompt_project_id_source", "prompt")
    op.drop_index("ix_prompt_project_id_category", "prompt")
    op.drop_table("prompt_edit_item")
    op.drop_table("prompt_edit")
    op.drop_table("prompt_tag")
    op.drop_column("prompt", "category")
    op.drop_column("project", "prompt_changes")


def fill_from_notes(connection: sa.Connection) -> None:
    """Take the categories and tags that the notes of imported prompts name, page by page."""
    prompt = sa.table("prompt", sa.column("id"), sa.column("category"))
    tag = sa.table("prompt_tag", sa.column("prompt_id"), sa.column("tag"), sa.column("project_id"))
    named = (
        sa.update(prompt)
        .where(prompt.c.id == sa.bindparam("prompt_id"))
        .values(category=sa.bindparam("named"))
    )
    for rows in _pages(connection):
        labels = [(row, *_labels(row.meta)) for row in rows]
        categories = [{"prompt_id": row.id, "named": named} for row, named, _ in labels if named]
        tags = [
            {"prompt_id": row.id, "tag": one, "project_id": row.project_id}
            for row, _, given in labels
            for one in given
        ]
        if categories:
            connection.execute(named, categories)
        if tags:
            connection.execute(sa.insert(tag), tags)


def _pages(connection: sa.Connection) -> Iterator[list[Any]]:
    prompt = sa.table(
        "prompt", sa.column("id"), sa.column("project_id"), sa.column("meta", sa.String())
    )
    meta = sa.cast(prompt.c.meta, sa.String()).label("meta")
    after = 0
    while True:
        query = sa.select(prompt.c.id, prompt.c.project_id, meta).where(
            prompt.c.id > after, meta != "{}"
        )
        rows = list(connection.execute(query.order_by(prompt.c.id).limit(PAGE)))
        if not rows:
            return
        yield rows
        after = rows[-1].id


def _labels(meta: str) -> tuple[str, list[str]]:
    notes = json.loads(meta) or {}
    category = next((text for key in CATEGORY_KEYS if (text := _text(notes.get(key)))), "")
    given = notes.get("tags")
    parts = given if isinstance(given, list) else [given]
    texts = [_text(part) for value in parts if isinstance(value, str) for part in value.split(",")]
    tags = list(dict.fromkeys(text for text in texts if 0 < len(text) <= TAG_LONGEST))
    return category if len(category) <= CATEGORY_LONGEST else "", tags


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""
