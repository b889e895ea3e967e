"""MT-Bench questions: `question_id, category, turns`, the turns all of the user.

The second is asked after the model's own answer to the first, so the prompt holds both in a row.
"""

from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import Message, PromptRecord, Row


def read(row: Row) -> list[PromptRecord]:
    """Read one question; reference answers are left out, nobody who answers should see them."""
    turns = fields.items(row, "turns")
    asked = [turn for turn in turns if isinstance(turn, str)]
    if len(asked) < len(turns):
        raise Invalid("'turns' must be a list of texts")
    messages = tuple(Message("user", turn) for turn in asked)
    meta = {} if row.get("category") is None else {"category": fields.text(row, "category")}
    return [PromptRecord(messages, fields.identifier(row, "question_id"), meta)]


def write(record: PromptRecord) -> Row:
    """Write one question. Raises Invalid for a prompt with turns of others than the user."""
    if any(turn.role != "user" for turn in record.messages):
        raise Invalid("an MT-Bench question has turns of the user only")
    name = record.source_id
    head: Row = {} if name is None else {"question_id": _number_or_text(name)}
    category: Row = {"category": record.meta["category"]} if "category" in record.meta else {}
    return {**head, **category, "turns": [turn.content for turn in record.messages]}


def _number_or_text(name: str) -> int | str:
    return int(name) if name.isascii() and name.isdecimal() and str(int(name)) == name else name


FORMAT = Format(
    "mt-bench",
    "MT-Bench questions",
    has("turns"),
    read,
    fields=("question_id", "category", "turns"),
    ignores={"reference": "nobody who answers should see the reference answers"},
)
