"""Instruction data sets: Alpaca and Dolly.

Alpaca rows are `instruction, input, output`, Dolly rows `instruction, context, response, category`.
The second field, unless it is empty, follows the instruction after an empty line. Rows without a
response are prompts.
"""

from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import DemonstrationRecord, Meta, PromptRecord, Row, Turn


def read_alpaca(row: Row) -> list[PromptRecord | DemonstrationRecord]:
    """Read an Alpaca row."""
    known = {"instruction", "input", "output", "id"}
    return _read(row, "input", fields.optional_text(row, "output"), fields.rest(row, known))


def read_dolly(row: Row) -> list[PromptRecord | DemonstrationRecord]:
    """Read a Dolly row; its category is kept."""
    known = {"instruction", "context", "response", "id"}
    return _read(row, "context", fields.text(row, "response"), fields.rest(row, known))


def _read(
    row: Row, second: str, response: str | None, meta: Meta
) -> list[PromptRecord | DemonstrationRecord]:
    parts = [fields.text(row, "instruction"), fields.optional_text(row, second) or ""]
    turns = (Turn("user", "\n\n".join(part for part in parts if part.strip())),)
    name = fields.identifier(row, "id")
    if response is None or not response.strip():
        return [PromptRecord(turns, name, meta)]
    return [DemonstrationRecord(turns, response, name, meta)]


ALPACA = Format(
    "alpaca",
    "Alpaca instructions",
    lambda row: "instruction" in row and bool({"input", "output"} & row.keys()),
    read_alpaca,
    fields=("instruction", "input", "output", "id"),
    keeps_notes=True,
    needs=has("instruction", ("output", "input")),
)
DOLLY = Format(
    "dolly",
    "Dolly instructions",
    has("instruction", "context", "response"),
    read_dolly,
    fields=("instruction", "context", "response", "id"),
    keeps_notes=True,
)
