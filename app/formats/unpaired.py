"""Completions with a label, good or bad, the form for KTO.

Rows are TRL's `prompt, completion, label`, or a conversation that ends with the completion and has
a `label`; in LLaMA-Factory the label is `kto_tag`. Labels are true or false, or 1 or 0.
"""

from app.errors import Invalid
from app.formats import fields, sharegpt, trl
from app.formats.format import Format, has
from app.formats.records import Conversation, Row, Turn, UnpairedRecord

_LABELS = ("label", "kto_tag")
_COMPLETIONS = ("completion", "response", "output")
_HAS_LABEL = has(_LABELS, ("prompt", "messages", "conversations", "instruction"))


def recognizes(row: Row) -> bool:
    """Whether the row has a completion and a label."""
    is_whole = bool({"messages", "conversations"} & row.keys())
    return _HAS_LABEL(row) and (is_whole or bool(set(_COMPLETIONS) & row.keys()))


def read(row: Row) -> list[UnpairedRecord]:
    """Read one completion with its label, and the labeler if the row names one."""
    prompt, text = _completion(row)
    key = next((name for name in _LABELS if row.get(name) is not None), "label")
    labeler = fields.identifier(row, "labeler", "annotator", "user_id")
    return [UnpairedRecord(prompt, text, _label(row, key), labeler)]


def _completion(row: Row) -> tuple[Conversation, str]:
    for key in _COMPLETIONS:
        if row.get(key) is not None:
            return _prompt(row), fields.reply(row[key], key)
    if row.get("conversations") is not None:
        turns = sharegpt.turns(row)
    else:
        turns = fields.messages(fields.items(row, "messages"), "messages")
    if not turns or turns[-1].role != "assistant":
        raise Invalid("the conversation does not end with a completion to label")
    return turns[:-1], turns[-1].content


def _prompt(row: Row) -> Conversation:
    if isinstance(row.get("prompt"), list):
        return fields.instructed(row, fields.prompt(row, "prompt"))
    if row.get("prompt") is not None:
        return trl.text_prompt(row)
    if row.get("messages") is not None:
        return fields.prompt(row, "messages")
    parts = [fields.text(row, "instruction"), fields.optional_text(row, "input") or ""]
    return (Turn("user", "\n\n".join(part for part in parts if part.strip())),)


def _label(row: Row, key: str) -> bool:
    value = row.get(key)
    if value in (0, 1):  # true and false are among them
        return bool(value)
    return fields.truth(row, key)


FORMAT = Format(
    "unpaired",
    "responses, each with a label",
    recognizes,
    read,
    fields=(
        *("prompt", "messages", "conversations", "system", "instruction", "input"),
        *_COMPLETIONS,
        *_LABELS,
        *("labeler", "annotator", "user_id"),
    ),
    needs=has("prompt", "completion", "label"),
)
