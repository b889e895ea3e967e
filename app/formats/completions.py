"""Prompts with unjudged completions: `prompt` or `instruction`, and `completions`.

A completion is a string, or an object with `text` or `output` and optionally `source` or `model`,
and `earlier`, the turns that lead up to a response to a follow-up.
"""

from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import CompletionsRecord, CompletionText, Row

_KNOWN = {"prompt", "instruction", "messages", "completions", "id", "prompt_id"}


def recognizes(row: Row) -> bool:
    """Whether the row has a prompt and a list of completions."""
    return isinstance(row.get("completions"), list) and bool(
        {"prompt", "instruction", "messages"} & row.keys()
    )


def read(row: Row) -> list[CompletionsRecord]:
    """Read a prompt and its completions; empty ones are kept, because models do write them."""
    turns = fields.prompt(row, "prompt", "instruction", "messages")
    candidates = tuple(
        read_completion(value, f"completion {n}")
        for n, value in enumerate(fields.items(row, "completions"), 1)
    )
    name = fields.identifier(row, "id", "prompt_id")
    return [CompletionsRecord(turns, candidates, name, fields.rest(row, _KNOWN))]


def read_completion(value: object, name: str) -> CompletionText:
    """Read one completion; errors call it by ``name``."""
    if isinstance(value, str):
        return CompletionText(value)
    if not isinstance(value, dict):
        raise Invalid(f"{name} must be text or an object, not {fields.kind(value)}")
    text = fields.text(value, "text" if "text" in value else "output")
    earlier = fields.messages(value["earlier"], "earlier") if value.get("earlier") else ()
    return CompletionText(text, fields.identifier(value, "source", "model"), earlier)


def write(record: CompletionsRecord) -> Row:
    """Write a prompt and its completions, with the additional fields of the original row."""
    head: Row = {} if record.source_id is None else {"id": record.source_id}
    return {
        **head,
        "messages": fields.as_messages(record.messages),
        "completions": [as_row(completion) for completion in record.completions],
        **record.meta,
    }


def as_row(completion: CompletionText) -> Row:
    """Write one completion."""
    source: Row = {} if completion.source is None else {"source": completion.source}
    earlier: Row = {"earlier": fields.as_messages(completion.earlier)} if completion.earlier else {}
    return {**source, "text": completion.text, **earlier}


FORMAT = Format(
    "completions",
    "prompts with responses",
    recognizes,
    read,
    fields=(
        *("prompt", "instruction", "messages", "id", "prompt_id"),
        *("completions.text", "completions.output", "completions.source", "completions.model"),
        "completions.earlier",
    ),
    keeps_notes=True,
    needs=has(("prompt", "instruction", "messages"), "completions"),
)
