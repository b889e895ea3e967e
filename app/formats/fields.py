"""Fields of a row, checked as they are taken, with errors that name the field."""

from collections.abc import Collection, Sequence

from app.errors import Invalid
from app.formats import transcripts
from app.formats.records import Message, Messages, Row

# Other names that files use for the three roles.
_ROLES = {"developer": "system", "human": "user", "gpt": "assistant", "model": "assistant"}
# Scores of both sides, whose difference is a margin where the file names none.
_SCORE_PAIRS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
)
MARGINS = ("margin", *(name for names in _SCORE_PAIRS for name in names))
"""The fields that `margin` reads."""
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
)


def text(row: Row, key: str) -> str:
    """Return a text that must be there; it may be empty."""
    value = _required(row, key)
    if not isinstance(value, str):
        raise Invalid(f"{key!r} must be text, not {kind(value)}")
    return value


def optional_text(row: Row, key: str) -> str | None:
    """Return a text, or None where the field is missing or null."""
    return None if row.get(key) is None else text(row, key)


def identifier(row: Row, *keys: str) -> str | None:
    """Return the first of these fields that holds a text or a whole number, as text."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
    return None


def whole(row: Row, key: str) -> int:
    """Return a whole number that must be there."""
    value = _required(row, key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"{key!r} must be a whole number, not {_shown(value)}")
    return value


def number(row: Row, key: str) -> float:
    """Return a number that must be there."""
    value = _required(row, key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid(f"{key!r} must be a number, not {_shown(value)}")
    return value


def optional_number(row: Row, key: str) -> float | None:
    """Return a number, or None where the field is missing or null."""
    return None if row.get(key) is None else number(row, key)


def optional_whole(row: Row, key: str) -> int | None:
    """Return a whole number, or None where the field is missing or null."""
    return None if row.get(key) is None else whole(row, key)


def margin(row: Row) -> float | None:
    """Return how far the chosen one is ahead: a margin, or the difference of both sides' scores."""
    for chosen, rejected in _SCORE_PAIRS:
        if row.get("margin") is None and None not in (row.get(chosen), row.get(rejected)):
            return number(row, chosen) - number(row, rejected)
    return optional_number(row, "margin")


def truth(row: Row, key: str) -> bool:
    """Return a boolean that must be there."""
    value = _required(row, key)
    if not isinstance(value, bool):
        raise Invalid(f"{key!r} must be true or false, not {_shown(value)}")
    return value


def items(row: Row, key: str) -> Sequence[object]:
    """Return a list that must be there."""
    value = _required(row, key)
    if not isinstance(value, list):
        raise Invalid(f"{key!r} must be a list, not {kind(value)}")
    return value


def objects(row: Row, key: str) -> list[Row]:
    """Return a list of objects that must be there."""
    return [_object(value, f"{key!r} item {n}") for n, value in enumerate(items(row, key), 1)]


def inner(row: Row, key: str) -> Row:
    """Return an object that must be there."""
    return _object(_required(row, key), repr(key))


def messages(value: object, name: str) -> Messages:
    """Read a list of {role, content} objects, or a text as one user turn."""
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, list):
        raise Invalid(f"{name!r} must be text or a list of messages, not {kind(value)}")
    return tuple(_message(item, f"{name!r} turn {n}") for n, item in enumerate(value, 1))


def reply(value: object, name: str) -> str:
    """Read an answer: a text, or a list with one assistant message."""
    if isinstance(value, str):
        return value
    turns = messages(value, name)
    if [turn.role for turn in turns] != ["assistant"]:
        raise Invalid(f"{name!r} must be one assistant message, not {len(turns)} turns")
    return turns[0].content


def prompt(row: Row, *keys: str) -> Messages:
    """Read a prompt from the first of these fields that the row has.

    A text that is a transcript up to "Assistant:" is read as its turns.
    """
    for key in keys:
        value = row.get(key)
        if isinstance(value, str) and transcripts.is_open(value):
            return transcripts.open_turns(value, key)
        if value is not None:
            return messages(value, key)
    raise Invalid(f"the row has no {' or '.join(map(repr, keys))}")


def as_messages(turns: Sequence[Message]) -> list[Row]:
    """Return turns as the {role, content} objects that most formats use."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def as_text(turns: Messages) -> str:
    """Return a prompt of one user turn as text.

    Raises Invalid for what a text field would not carry back: a conversation, or a text that reads
    as one.
    """
    if [turn.role for turn in turns] != ["user"]:
        # Without the number of turns: exports count what they leave out by its reason.
        raise Invalid("a text prompt carries one user turn, not a conversation")
    if transcripts.is_open(turns[0].content):
        raise Invalid("the prompt is a text that would be read as a transcript")
    return turns[0].content


def rest(row: Row, known: Collection[str]) -> dict[str, object]:
    """Return the fields a format does not know that hold a text, number or boolean."""
    return {
        key: value
        for key, value in row.items()
        if key not in known and isinstance(value, str | int | float)
    }


def kind(value: object) -> str:
    """Say what a JSON value is, in words."""
    return next((words for types, words in _KINDS if isinstance(value, types)), "null")


def _required(row: Row, key: str) -> object:
    if row.get(key) is None:
        raise Invalid(f"the row has no {key!r}")
    return row[key]


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float) else kind(value)


def _object(value: object, name: str) -> Row:
    if not isinstance(value, dict):
        raise Invalid(f"{name} must be an object, not {kind(value)}")
    return value


def _message(value: object, name: str) -> Message:
    item = _object(value, name)
    role = item.get("role")
    if not isinstance(role, str):
        raise Invalid(f"{name} has no role")
    return Message(_ROLES.get(role, role), _content(item.get("content"), name))


def _content(value: object, name: str) -> str:
    """Read a content, which may be a list of parts as long as they are all text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise Invalid(f"{name} has content that is {kind(value)}, not text")
    parts = [_object(part, f"{name} part {n}") for n, part in enumerate(value, 1)]
    for n, part in enumerate(parts, 1):
        if part.get("type") != "text":
            raise Invalid(f"{name} part {n} is not text; only text can be judged")
    return "".join(text(part, "text") for part in parts)
