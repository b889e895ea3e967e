"""Plain prompts and demonstrations: `prompt` or `messages`, and optionally a response.

TRL's prompt-only and prompt-completion rows have the same form, as text or as conversations.
"""

from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import DemonstrationRecord, PromptRecord, Row

_RESPONSES = ("completion", "response")
_KNOWN = {"prompt", "messages", "id", "prompt_id", *_RESPONSES}


def recognizes(row: Row) -> bool:
    """Whether the row has a prompt and no judgment."""
    return ("prompt" in row or "messages" in row) and not ({"chosen", "completions"} & row.keys())


def read(row: Row) -> list[PromptRecord | DemonstrationRecord]:
    """Read a prompt, or a demonstration if there is a response."""
    turns = fields.prompt(row, "messages", "prompt")
    known = _KNOWN
    if isinstance(row.get("messages"), list):
        turns, known = fields.instructed(row, turns), _KNOWN | {"instruction"}
    meta, name = fields.rest(row, known), fields.identifier(row, "id", "prompt_id")
    response = next((row[key] for key in _RESPONSES if row.get(key) is not None), None)
    if response is not None:
        return [DemonstrationRecord(turns, fields.reply(response, "completion"), name, meta)]
    if turns and turns[-1].role == "assistant":
        return [DemonstrationRecord(turns[:-1], turns[-1].content, name, meta)]
    return [PromptRecord(turns, name, meta)]


def write(record: PromptRecord) -> Row:
    """Write a prompt with the additional fields of the original row."""
    head: Row = {} if record.source_id is None else {"id": record.source_id}
    return {**head, "messages": fields.as_messages(record.messages), **record.meta}


def write_demonstration(record: DemonstrationRecord) -> Row:
    """Write a demonstration as one conversation, the usual input of supervised fine-tuning."""
    head: Row = {} if record.source_id is None else {"id": record.source_id}
    response = {"role": "assistant", "content": record.response}
    return {**head, "messages": [*fields.as_messages(record.messages), response], **record.meta}


def write_demonstration_text(record: DemonstrationRecord) -> Row:
    """Write a demonstration as prompt and completion texts."""
    head: Row = {} if record.source_id is None else {"id": record.source_id}
    prompt = fields.as_text(record.messages)
    return {**head, "prompt": prompt, "completion": record.response, **record.meta}


FORMAT = Format(
    "prompts",
    "plain prompts, alone or with a good response",
    recognizes,
    read,
    fields=tuple(sorted(_KNOWN | {"instruction"})),
    keeps_notes=True,
    needs=has(("prompt", "messages")),
)
