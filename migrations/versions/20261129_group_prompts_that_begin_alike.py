"""Group prompts by how their conversations begin, and mark evaluation sets.

Prompts keep their split. Each takes the hash of its turns up to and including the first user turn.

Revision: 8f2d61c09b37
Follows: 7c1f04e8d2b6
"""

import hashlib
import json
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "8f2d61c09b37"
down_revision = "7c1f04e8d2b6"
branch_labels = None
depends_on = None

INDEX = "ix_prompt_project_id_group_hash"
PAGE = 2_000
PROMPT = sa.table(
    "prompt",
    sa.column("id", sa.BigInteger),
    sa.column("messages", sa.JSON),
    sa.column("group_hash", sa.String),
)


def upgrade() -> None:
    # Columns with a default are added in place: SQLite cannot rebuild a table that others refer to.
    op.add_column(
        "prompt", sa.Column("group_hash", sa.String(64), server_default="", nullable=False)
    )
    op.add_column("prompt", _declared())
    op.add_column("import_run", _declared())
    _fill()
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("prompt", "group_hash", server_default=None)
    op.create_index(INDEX, "prompt", ["project_id", "group_hash"])


def downgrade() -> None:
    op.drop_index(INDEX, "prompt")
    op.drop_column("import_run", "is_evaluation")
    op.drop_column("prompt", "is_evaluation")
    op.drop_column("prompt", "group_hash")


def _declared() -> sa.Column[bool]:
    return sa.Column("is_evaluation", sa.Boolean(), server_default=sa.text("false"), nullable=False)


def _fill() -> None:
    """Compute the hash of every prompt, a page at a time."""
    connection, last = op.get_bind(), 0
    change = (
        PROMPT.update()
        .where(PROMPT.c.id == sa.bindparam("prompt_id"))
        .values(group_hash=sa.bindparam("digest"))
    )
    while True:
        query = sa.select(PROMPT.c.id, PROMPT.c.messages).where(PROMPT.c.id > last)
        rows = connection.execute(query.order_by(PROMPT.c.id).limit(PAGE)).all()
        if not rows:
            return
        connection.execute(
            change, [{"prompt_id": row.id, "digest": _digest(row.messages)} for row in rows]
        )
        last = rows[-1].id


def _digest(messages: list[dict[str, str]]) -> str:
    beginning = []
    for message in messages:
        beginning.append([message["role"], _plain(message["content"])])
        if message["role"] == "user":
            break
    encoded = json.dumps(beginning, ensure_ascii=False, separators=(",", ":")).encode()
    return hashlib.sha256(encoded).hexdigest()


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
