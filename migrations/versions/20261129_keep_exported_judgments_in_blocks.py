"""Keep which judgments are in an export in blocks of 1,024 ids instead of a row each.

What was recorded before is converted: about ten seconds for an export of a million judgments.

Revision: c47a0e9b12d5
Follows: 93d1f0b7ce28
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "c47a0e9b12d5"
down_revision = "93d1f0b7ce28"
branch_labels = None
depends_on = None

BLOCK = 1024
IN, OUT = b"1", b"0"
AT_ONCE = 10_000
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

BLOCKS = sa.table(
    "exported_judgments",
    sa.column("export_id", KEY),
    sa.column("block", KEY),
    sa.column("members", sa.LargeBinary),
)
LINKS = sa.table("export_judgment", sa.column("export_id", KEY), sa.column("judgment_id", KEY))


def upgrade() -> None:
    op.create_table(
        "exported_judgments",
        sa.Column("export_id", KEY, nullable=False),
        sa.Column("block", KEY, nullable=False),
        sa.Column("members", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["export_id"], ["export.id"], name=op.f("fk_exported_judgments_export_id")
        ),
        sa.PrimaryKeyConstraint("export_id", "block", name=op.f("pk_exported_judgments")),
    )
    op.create_index(op.f("ix_exported_judgments_block"), "exported_judgments", ["block"])
    for export_id in _export_ids(LINKS):
        rows = [
            {"export_id": export_id, "block": number, "members": members}
            for number, members in _blocks(export_id)
        ]
        op.get_bind().execute(BLOCKS.insert(), rows)
    op.drop_index(op.f("ix_export_judgment_judgment_id"), table_name="export_judgment")
    op.drop_table("export_judgment")


def downgrade() -> None:
    op.create_table(
        "export_judgment",
        sa.Column("export_id", KEY, nullable=False),
        sa.Column("judgment_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["export_id"], ["export.id"], name=op.f("fk_export_judgment_export_id")
        ),
        sa.ForeignKeyConstraint(
            ["judgment_id"], ["judgment.id"], name=op.f("fk_export_judgment_judgment_id")
        ),
        sa.PrimaryKeyConstraint("export_id", "judgment_id", name=op.f("pk_export_judgment")),
    )
    for export_id in _export_ids(BLOCKS):
        query = sa.select(BLOCKS.c.block, BLOCKS.c.members)
        for number, members in _all(query.where(BLOCKS.c.export_id == export_id)):
            op.get_bind().execute(
                LINKS.insert(),
                [
                    {"export_id": export_id, "judgment_id": number * BLOCK + place}
                    for place, member in enumerate(members)
                    if member == IN[0]
                ],
            )
    op.create_index(op.f("ix_export_judgment_judgment_id"), "export_judgment", ["judgment_id"])
    op.drop_index(op.f("ix_exported_judgments_block"), table_name="exported_judgments")
    op.drop_table("exported_judgments")


def _export_ids(table: sa.TableClause) -> list[int]:
    """Return the exports with judgments; they are converted one at a time, to bound memory."""
    query = sa.select(table.c.export_id).distinct().order_by(table.c.export_id)
    return list(op.get_bind().scalars(query))


def _blocks(export_id: int) -> Iterator[tuple[int, bytes]]:
    query = sa.select(LINKS.c.judgment_id).where(LINKS.c.export_id == export_id)
    pages = _all(query.order_by(LINKS.c.judgment_id))
    places = (divmod(judgment_id, BLOCK) for (judgment_id,) in pages)
    for number, group in groupby(places, key=itemgetter(0)):
        members = bytearray(OUT * BLOCK)
        for _number, place in group:
            members[place] = IN[0]
        yield number, bytes(members)


def _all(query: Any) -> Iterator[Any]:
    """Yield rows without holding all of them."""
    yield from op.get_bind().execute(query.execution_options(yield_per=AT_ONCE))
