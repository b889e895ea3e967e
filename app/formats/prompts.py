"""Plain prompts and demonstrations, one per line: `prompt` or `messages`, and perhaps an answer.

TRL's prompt-only and prompt-completion rows, as text or as conversations, are the same rows.
"""

from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import DemonstrationRecord, PromptRecord, Row

_ANSWERS = ("completion", "response")
_KNOWN = {"prompt", "messages", "id", "prompt_id", *_ANSWERS}


def recognises(row: Row) -> bool:
    """Tell a row with a prompt and no judgment."""
    return ("prompt" in row or "messages" in row) and not ({"chosen", "completions"} & row.keys())


def read(row: Row) -> list[PromptRecord | DemonstrationRecord]:
    """Read a prompt; an answer after it makes it a demonstration."""
    turns = fields.prompt(row, "messages", "prompt")
    meta, name = fields.rest(row, _KNOWN), fields.identifier(row, "id", "prompt_id")
    answer = next((row[key] for key in _ANSWERS if row.get(key) is not None), None)
    if answer is not None:
        return [DemonstrationRecord(turns, fields.reply(answer, "completion"), name, meta)]
    if turns and turns[-1].role == "assistant":
        return [DemonstrationRecord(turns[:-1], turns[-1].content, name, meta)]
    return [PromptRecord(turns, name, meta)]


def write(record: PromptRecord) -> Row:
    """Write a prompt with the fields it came with."""
    head: Row = {} if record.source_id is None else {"id": record.source_id}
    return {**head, "messages": fields.as_messages(record.messages), **record.meta}


def write_demonstration(record: DemonstrationRecord) -> Row:
    """Write a demonstration as one conversation, as supervised fine-tuning takes it."""
    head: Row = {} if record.source_id is None else {"id": record.source_id}
    answer = {"role": "assistant", "content": record.response}
    return {**head, "messages": [*fields.as_messages(record.messages), answer], **record.meta}


def write_demonstration_text(record: DemonstrationRecord) -> Row:
    """Write a demonstration as prompt and completion texts."""
    head: Row = {} if record.source_id is None else {"id": record.source_id}
    prompt = fields.as_text(record.messages)
    return {**head, "prompt": prompt, "completion": record.response, **record.meta}


FORMAT = Format(
    "prompts",
    "plain prompts or demonstrations",
    recognises,
    read,
    fields=tuple(sorted(_KNOWN)),
    keeps_notes=True,
    needs=has(("prompt", "messages")),
)
