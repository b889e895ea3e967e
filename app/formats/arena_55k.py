"""LMArena's data set of 55,000 battles: lists of turns, and the winner in three columns.

Rows are `model_a, model_b, prompt, response_a, response_b, winner_model_a, winner_model_b,
winner_tie`. Prompt and responses are lists of turns, or JSON lists in a string. Battles of several
turns compare diverging conversations and are rejected.
"""

import json

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.hh import shared_prompt
from app.formats.records import Conversation, PreferenceRecord, Row, Turn, completion

_RANKS = {"winner_model_a": (1, 2), "winner_model_b": (2, 1), "winner_tie": (1, 1)}


def read(row: Row) -> list[PreferenceRecord]:
    """Read one battle."""
    prompt, tails = shared_prompt(_conversation(row, "a"), _conversation(row, "b"))
    candidates = tuple(
        completion(turns, fields.identifier(row, model))
        for turns, model in zip(tails, ("model_a", "model_b"), strict=True)
    )
    name = fields.identifier(row, "id")
    return [PreferenceRecord(prompt, candidates, Ranking(_ranks(row)), source_id=name)]


def _conversation(row: Row, side: str) -> Conversation:
    asked, said = _turns(row, "prompt"), _turns(row, f"response_{side}")
    if len(asked) != len(said):
        raise Invalid(f"'prompt' has {len(asked)} turns and 'response_{side}' {len(said)}")
    pairs = zip(asked, said, strict=True)
    return tuple(
        turn for user, model in pairs for turn in (Turn("user", user), Turn("assistant", model))
    )


def _turns(row: Row, key: str) -> list[str]:
    value = row.get(key)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise Invalid(f"{key!r} must be a JSON list of texts") from error
    texts = [turn for turn in value if isinstance(turn, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(texts) < len(value):
        raise Invalid(f"{key!r} must be a JSON list of texts; a turn may not be null")
    return texts


def _ranks(row: Row) -> tuple[int, int]:
    said = [key for key in _RANKS if fields.optional_number(row, key) == 1]
    if len(said) != 1:
        raise Invalid(f"one of {', '.join(_RANKS)} must be 1, not {len(said)} of them")
    return _RANKS[said[0]]


FORMAT = Format(
    "arena-55k",
    "LMArena battles in a table",
    has("model_a", "model_b", "prompt", "response_a", "response_b", *_RANKS),
    read,
    fields=("id", "model_a", "model_b", "prompt", "response_a", "response_b", *_RANKS),
)
