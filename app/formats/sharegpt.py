"""ShareGPT conversations: `conversations` with `from` and `value`, read as demonstrations.

Speakers are human and gpt, or other names that chat exports use. A conversation that ends with the
user is a prompt.
"""

from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format
from app.formats.records import Conversation, DemonstrationRecord, PromptRecord, Row, Turn

_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model"), "assistant"),
    "system": "system",
}


def recognizes(row: Row) -> bool:
    """Whether the row holds turns with `from` and `value`."""
    conversation = row.get("conversations")
    return (
        isinstance(conversation, list)
        and bool(conversation)
        and all(isinstance(turn, dict) and "from" in turn for turn in conversation)
        and not {"chosen", "rejected"} & row.keys()
    )


def read(row: Row) -> list[PromptRecord | DemonstrationRecord]:
    """Read one conversation; everything before the last response is the prompt."""
    conversation, name = turns(row), fields.identifier(row, "id")
    if conversation[-1].role == "assistant":
        return [DemonstrationRecord(conversation[:-1], conversation[-1].content, name)]
    return [PromptRecord(conversation, name)]


def turns(row: Row) -> Conversation:
    """Read the turns of a row, its `system` text first. Raises Invalid if there are none."""
    system = fields.optional_text(row, "system")
    said = [_turn(turn, n) for n, turn in enumerate(fields.objects(row, "conversations"), 1)]
    if not said:
        raise Invalid("'conversations' has no turns")
    return (*([Turn("system", system)] if system else []), *said)


def _turn(turn: Row, number: int) -> Turn:
    speaker = fields.text(turn, "from")
    if speaker not in _ROLES:
        raise Invalid(
            f"turn {number} is from {speaker!r}; only turns of human and gpt are supported"
        )
    return Turn(_ROLES[speaker], fields.text(turn, "value"))


FORMAT = Format(
    "sharegpt",
    "ShareGPT conversations",
    recognizes,
    read,
    fields=("conversations", "system", "id"),
)
