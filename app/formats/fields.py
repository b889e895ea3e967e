"""Reads and checks the fields of a row, with errors that name the field."""

from collections.abc import Collection, Mapping, Sequence

from app.domain import instruction_text
from app.errors import Invalid
from app.formats import transcripts
from app.formats.records import Conversation, Row, Turn

# Other names for the three roles in files.
_ROLES = {"developer": "system", "human": "user", "gpt": "assistant", "model": "assistant"}
# Scores of the two completions; their difference is the margin if the row has none.
_SCORE_PAIRS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
)
MARGINS = ("margin", *(name for names in _SCORE_PAIRS for name in names))
"""The fields that `margin` reads."""
LABELS: Mapping[str, tuple[type, ...]] = {"category": (str,), "tags": (str, list)}
"""The labels of a prompt that every format keeps, with the types they may have."""
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
)


def text(row: Row, key: str) -> str:
    """Return a required text; it may be empty."""
    value = _required(row, key)
    if not isinstance(value, str):
        raise Invalid(f"{key!r} must be text, not {kind(value)}")
    return value


def optional_text(row: Row, key: str) -> str | None:
    """Return a text, or None if the field is missing or null."""
    return None if row.get(key) is None else text(row, key)


def identifier(row: Row, *keys: str) -> str | None:
    """Return the first of these fields that holds a text or a whole number, as a text."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
    return None


def whole(row: Row, key: str) -> int:
    """Return a required whole number."""
    value = _required(row, key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"{key!r} must be a whole number, not {_shown(value)}")
    return value


def number(row: Row, key: str) -> float:
    """Return a required number."""
    value = _required(row, key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid(f"{key!r} must be a number, not {_shown(value)}")
    return value


def optional_number(row: Row, key: str) -> float | None:
    """Return a number, or None if the field is missing or null."""
    return None if row.get(key) is None else number(row, key)


def optional_whole(row: Row, key: str) -> int | None:
    """Return a whole number, or None if the field is missing or null."""
    return None if row.get(key) is None else whole(row, key)


def margin(row: Row) -> float | None:
    """Return the lead of the chosen completion: the margin, or the difference of the scores."""
    if row.get("margin") is not None:
        return number(row, "margin")
    for chosen, rejected in _SCORE_PAIRS:
        if row.get(chosen) is not None and row.get(rejected) is not None:
            return number(row, chosen) - number(row, rejected)
    return None


def truth(row: Row, key: str) -> bool:
    """Return a required boolean."""
    value = _required(row, key)
    if not isinstance(value, bool):
        raise Invalid(f"{key!r} must be true or false, not {_shown(value)}")
    return value


def items(row: Row, key: str) -> Sequence[object]:
    """Return a required list."""
    value = _required(row, key)
    if not isinstance(value, list):
        raise Invalid(f"{key!r} must be a list, not {kind(value)}")
    return value


def objects(row: Row, key: str) -> list[Row]:
    """Return a required list of objects."""
    return [_object(value, f"{key!r} item {n}") for n, value in enumerate(items(row, key), 1)]


def inner(row: Row, key: str) -> Row:
    """Return a required object."""
    return _object(_required(row, key), repr(key))


def messages(value: object, name: str) -> Conversation:
    """Read a list of {role, content} objects, or a text as a single user turn."""
    if isinstance(value, str):
        return (Turn("user", value),)
    if not isinstance(value, list):
        raise Invalid(f"{name!r} must be text or a list of messages, not {kind(value)}")
    return tuple(_message(item, f"{name!r} turn {n}") for n, item in enumerate(value, 1))


def reply(value: object, name: str) -> str:
    """Read a response: a text, or a list with one assistant message."""
    if isinstance(value, str):
        return value
    turns = messages(value, name)
    if [turn.role for turn in turns] != ["assistant"]:
        raise Invalid(f"{name!r} must be one assistant message, not {len(turns)} turns")
    return turns[0].content


def prompt(row: Row, *keys: str) -> Conversation:
    """Read a prompt from the first of these fields that the row has.

    A transcript that ends with "Assistant:" is split into its turns.
    """
    for key in keys:
        value = row.get(key)
        if isinstance(value, str) and transcripts.is_open(value):
            return transcripts.open_turns(value, key)
        if value is not None:
            return messages(value, key)
    raise Invalid(f"the row has no {' or '.join(map(repr, keys))}")


def instructed(row: Row, turns: Conversation) -> Conversation:
    """Return a prompt with the row's `instruction`, if there is one, in its system turn."""
    text = instruction_text.normalized(optional_text(row, "instruction") or "")
    return tuple(Turn(*turn) for turn in instruction_text.as_system(turns, text))


def as_messages(turns: Sequence[Turn]) -> list[Row]:
    """Return the turns as the {role, content} objects that most formats use."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def as_text(turns: Conversation) -> str:
    """Return a prompt with a single user turn as text.

    Raises Invalid for a conversation, and for a text that would be read back as one.
    """
    if [turn.role for turn in turns] != ["user"]:
        # No number of turns in the message: exports count excluded rows by their reason.
        raise Invalid("a text prompt holds one user turn, not a conversation")
    if transcripts.is_open(turns[0].content):
        raise Invalid("the text of the prompt would be read as a transcript of several turns")
    return turns[0].content


def rest(row: Row, known: Collection[str]) -> dict[str, object]:
    """Return the fields unknown to the format that hold a text, a number or a boolean.

    Also the labels of the prompt: its tags may be a list.
    """
    return {
        key: value
        for key, value in row.items()
        if key not in known and isinstance(value, str | int | float)
    } | labels(row, known)


def labels(row: Row, known: Collection[str] = ()) -> dict[str, object]:
    """Return the category and the tags of the prompt, where the row has them."""
    return {
        key: value
        for key, types in LABELS.items()
        if (value := row.get(key)) is not None and key not in known and isinstance(value, types)
    }


def kind(value: object) -> str:
    """Describe the type of a JSON value in words."""
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


def _message(value: object, name: str) -> Turn:
    item = _object(value, name)
    role = item.get("role")
    if not isinstance(role, str):
        raise Invalid(f"{name} has no role")
    return Turn(_ROLES.get(role, role), _content(item.get("content"), name))


def _content(value: object, name: str) -> str:
    """Read the content of a message, which may be a list of parts if all of them are text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise Invalid(f"{name} has content that is {kind(value)}, not text")
    parts = [_object(part, f"{name} part {n}") for n, part in enumerate(value, 1)]
    for n, part in enumerate(parts, 1):
        if part.get("type") != "text":
            raise Invalid(f"{name} part {n} is not text; only text is supported")
    return "".join(text(part, "text") for part in parts)
