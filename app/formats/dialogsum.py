"""DialogSum: a `dialogue` and its `summary`, a demonstration of summarizing.

What to do with the dialogue is the project's instruction, which is joined to every prompt.
"""

from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import DemonstrationRecord, Message, Row


def read(row: Row) -> list[DemonstrationRecord]:
    """Read one summary; the topic stays with the prompt."""
    return [
        DemonstrationRecord(
            (Message("user", fields.text(row, "dialogue")),),
            fields.text(row, "summary"),
            fields.identifier(row, "id", "fname"),
            fields.rest(row, {"id", "fname", "dialogue", "summary"}),
        )
    ]


FORMAT = Format(
    "dialogsum",
    "DialogSum summaries",
    has("dialogue", "summary"),
    read,
    fields=("dialogue", "summary", "id", "fname"),
    keeps_notes=True,
)
