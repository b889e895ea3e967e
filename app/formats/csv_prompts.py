"""Prompts and demonstrations in a table, under the usual names of such columns."""

from collections.abc import Iterable, Iterator

from app.errors import Invalid
from app.formats import fields, tables
from app.formats.format import Format, has
from app.formats.records import DemonstrationRecord, PromptRecord, Row, Turn

NAME = "csv"
_PROMPTS = ("prompt", "instruction", "input_text", "question", "text")
_RESPONSES = ("response", "completion", "output", "answer")


def read(row: Row) -> list[PromptRecord | DemonstrationRecord]:
    """Read a prompt, or a demonstration if the row has a response."""
    prompt_column = next((key for key in _PROMPTS if row.get(key) is not None), None)
    if prompt_column is None:
        raise Invalid("the prompt is empty")
    response_column = next((key for key in _RESPONSES if row.get(key) is not None), "")
    turns = fields.prompt(row, prompt_column)
    if row.get("system") is not None:
        turns = (Turn("system", fields.text(row, "system")), *turns)
    meta = fields.rest(row, {prompt_column, response_column, "system", "id"})
    name = fields.identifier(row, "id")
    if not response_column:
        return [PromptRecord(turns, name, meta)]
    return [DemonstrationRecord(turns, fields.text(row, response_column), name, meta)]


def write(records: Iterable[PromptRecord | DemonstrationRecord]) -> Iterator[bytes]:
    """Write single-turn prompts, with or without responses, below a header.

    Raises Invalid for a conversation.
    """
    yield tables.written(["id", "prompt", "response"])
    for record in records:
        response = record.response if isinstance(record, DemonstrationRecord) else ""
        yield tables.written([record.source_id or "", fields.as_text(record.messages), response])


FORMAT = Format(
    NAME,
    "CSV of prompts, alone or with a good response",
    has(_PROMPTS),
    read,
    fields=(*_PROMPTS, *_RESPONSES, "system", "id"),
    keeps_notes=True,
)
