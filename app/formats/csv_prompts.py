"""Prompts and demonstrations in a table, under the names that people give such columns."""

from collections.abc import Iterable, Iterator

from app.errors import Invalid
from app.formats import fields, tables
from app.formats.format import Format, has
from app.formats.records import DemonstrationRecord, Message, PromptRecord, Row

NAME = "csv"
_PROMPTS = ("prompt", "instruction", "input_text", "question", "text")
_ANSWERS = ("response", "completion", "output", "answer")


def read(row: Row) -> list[PromptRecord | DemonstrationRecord]:
    """Read a prompt; an answer beside it makes it a demonstration."""
    asked = next((key for key in _PROMPTS if row.get(key) is not None), None)
    if asked is None:
        raise Invalid("the prompt is empty")
    answered = next((key for key in _ANSWERS if row.get(key) is not None), "")
    turns = fields.prompt(row, asked)
    if row.get("system") is not None:
        turns = (Message("system", fields.text(row, "system")), *turns)
    meta = fields.rest(row, {asked, answered, "system", "id"})
    name = fields.identifier(row, "id")
    if not answered:
        return [PromptRecord(turns, name, meta)]
    return [DemonstrationRecord(turns, fields.text(row, answered), name, meta)]


def write(records: Iterable[PromptRecord | DemonstrationRecord]) -> Iterator[bytes]:
    """Write single-turn prompts, with or without answers, header first.

    Raises Invalid for a conversation.
    """
    yield tables.written(["id", "prompt", "response"])
    for record in records:
        answer = record.response if isinstance(record, DemonstrationRecord) else ""
        yield tables.written([record.source_id or "", fields.as_text(record.messages), answer])


FORMAT = Format(
    NAME,
    "prompts or demonstrations as CSV",
    has(_PROMPTS),
    read,
    fields=(*_PROMPTS, *_ANSWERS, "system", "id"),
    keeps_notes=True,
)
