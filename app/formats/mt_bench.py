"""MT-Bench questions: `question_id, category, turns`, where all turns are the user's.

The second turn is asked after the model's own response to the first, so the prompt holds both.
"""

from app.domain.digits import number_of
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import PromptRecord, Row, Turn


def read(row: Row) -> list[PromptRecord]:
    """Read one question without its reference answers, which no model or labeler should see."""
    turns = fields.items(row, "turns")
    texts = [turn for turn in turns if isinstance(turn, str)]
    if len(texts) < len(turns):
        raise Invalid("'turns' must be a list of texts")
    messages = tuple(Turn("user", text) for text in texts)
    meta = {} if row.get("category") is None else {"category": fields.text(row, "category")}
    return [PromptRecord(messages, fields.identifier(row, "question_id"), meta)]


def write(record: PromptRecord) -> Row:
    """Write one question. Raises Invalid if any turn is not the user's."""
    if any(turn.role != "user" for turn in record.messages):
        raise Invalid("an MT-Bench question has only user turns")
    name = record.source_id
    head: Row = {} if name is None else {"question_id": _number_or_text(name)}
    category: Row = {"category": record.meta["category"]} if "category" in record.meta else {}
    return {**head, **category, "turns": [turn.content for turn in record.messages]}


def _number_or_text(name: str) -> int | str:
    number = number_of(name)
    return name if number is None or str(number) != name else number


FORMAT = Format(
    "mt-bench",
    "MT-Bench questions",
    has("turns"),
    read,
    fields=("question_id", "category", "turns"),
    ignores={"reference": "reference answers must not be shown to those who respond"},
)
