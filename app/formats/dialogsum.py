"""DialogSum: a `dialogue` and its `summary`, read as a demonstration.

The task, to summarize, belongs in the project's instruction, which is joined to every prompt.
"""

from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import DemonstrationRecord, Row, Turn


def read(row: Row) -> list[DemonstrationRecord]:
    """Read one summary; the topic is kept with the prompt."""
    return [
        DemonstrationRecord(
            (Turn("user", fields.text(row, "dialogue")),),
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
