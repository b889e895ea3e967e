"""Prompts with completions nobody has judged: `prompt` or `instruction`, and `completions`.

A completion is a text, or an object with `text` or `output` and who wrote it: `source` or `model`.
"""

from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import Candidate, CompletionsRecord, Row

_KNOWN = {"prompt", "instruction", "messages", "completions", "id", "prompt_id"}


def recognises(row: Row) -> bool:
    """Tell a row with a prompt and a list of completions."""
    return isinstance(row.get("completions"), list) and bool(
        {"prompt", "instruction", "messages"} & row.keys()
    )


def read(row: Row) -> list[CompletionsRecord]:
    """Read a prompt and its completions; an empty completion is kept, models write them."""
    turns = fields.prompt(row, "prompt", "instruction", "messages")
    candidates = tuple(
        candidate(value, f"completion {n}")
        for n, value in enumerate(fields.items(row, "completions"), 1)
    )
    name = fields.identifier(row, "id", "prompt_id")
    return [CompletionsRecord(turns, candidates, name, fields.rest(row, _KNOWN))]


def candidate(value: object, name: str) -> Candidate:
    """Read one completion."""
    if isinstance(value, str):
        return Candidate(value)
    if not isinstance(value, dict):
        raise Invalid(f"{name} must be text or an object, not {fields.kind(value)}")
    text = fields.text(value, "text" if "text" in value else "output")
    return Candidate(text, fields.identifier(value, "source", "model"))


def write(record: CompletionsRecord) -> Row:
    """Write a prompt and its completions with the fields they came with."""
    head: Row = {} if record.source_id is None else {"id": record.source_id}
    return {
        **head,
        "messages": fields.as_messages(record.messages),
        "completions": [as_row(candidate) for candidate in record.completions],
        **record.meta,
    }


def as_row(candidate: Candidate) -> Row:
    """Write one completion."""
    source: Row = {} if candidate.source is None else {"source": candidate.source}
    return {**source, "text": candidate.text}


FORMAT = Format(
    "completions",
    "prompts with completions",
    recognises,
    read,
    fields=(
        *("prompt", "instruction", "messages", "id", "prompt_id"),
        *("completions.text", "completions.output", "completions.source", "completions.model"),
    ),
    keeps_notes=True,
    needs=has(("prompt", "instruction", "messages"), "completions"),
)
