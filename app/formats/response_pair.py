"""Two responses and a winner in a row: what people write in a spreadsheet, in many words.

Columns are `prompt, response_a, response_b, winner`; a mapping gives other columns these names. The
winner is a letter, a number, the name of a column, or the text of the better response.
"""

import re

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields, judgment_words
from app.formats.format import Format, has
from app.formats.records import (
    ComparisonRecord,
    CompletionText,
    PreferenceRecord,
    Row,
    VoteRecord,
)

_PROMPTS = ("prompt", "question", "instruction", "input_text")
_FIRST = ("response_a", "answer_a", "completion_a", "output_a")
_SECOND = ("response_b", "answer_b", "completion_b", "output_b")
_WINNERS = ("winner", "preferred", "preference", "better")
_LABELERS = ("labeler", "annotator", "worker", "judge")
_TIE = Ranking((1, 1))
_RANKS = {
    **dict.fromkeys(("a", "1", "first", "left"), Ranking((1, 2))),
    **dict.fromkeys(("b", "2", "second", "right"), Ranking((2, 1))),
    **dict.fromkeys(("tie", "equal", "same", "both", "draw"), _TIE),
}
_BOTH_BAD = ("both bad", "bothbad", "tie (bothbad)", "neither")
_LAST_WORD = re.compile(r"[^\W_]+$")


def read(row: Row) -> list[PreferenceRecord | ComparisonRecord]:
    """Read one row; *both bad* becomes a comparison with one vote, which can carry it."""
    turns = fields.prompt(row, _present(row, _PROMPTS))
    texts = [fields.text(row, _present(row, names)) for names in (_FIRST, _SECOND)]
    models = [fields.identifier(row, name) for name in ("model_a", "model_b")]
    candidates = tuple(CompletionText(*each) for each in zip(texts, models, strict=True))
    labeler, name = fields.identifier(row, *_LABELERS), fields.identifier(row, "id")
    column = _present(row, _WINNERS)
    winner = str(row.get(column, "")).strip()
    if winner.lower() in _BOTH_BAD or judgment_words.is_both_bad(winner):
        vote = VoteRecord(labeler or "", Ranking((1, 1)), both_bad=True)
        return [ComparisonRecord(turns, candidates, (vote,), comparison=name)]
    return [
        PreferenceRecord(
            turns,
            candidates,
            _ranking(column, winner, texts),
            labeler,
            margin=fields.optional_number(row, "margin"),
            source_id=name,
        )
    ]


def _ranking(column: str, winner: str, texts: list[str]) -> Ranking:
    """Return the order that a winner means."""
    if texts[0] != texts[1] and winner in texts:
        return Ranking((1, 2)) if winner == texts[0] else Ranking((2, 1))
    if judgment_words.is_tie(winner):
        return _TIE
    last = _LAST_WORD.search(winner.lower())
    ranking = _RANKS.get(winner.lower()) or (_RANKS.get(last.group()) if last else None)
    if ranking is None:
        raise Invalid(
            f"{column!r} must say which response is better: a, b, 1, 2, tie, both bad, the name of "
            f"its column or its text, not {winner[:80]!r}; map another word, such as "
            "value=A wins=a"
        )
    return ranking


def _present(row: Row, names: tuple[str, ...]) -> str:
    return next((name for name in names if row.get(name) is not None), names[0])


FORMAT = Format(
    "response-pair",
    "a prompt, two responses and the winner",
    has(_PROMPTS, _FIRST, _SECOND, _WINNERS),
    read,
    fields=(
        *(*_PROMPTS, *_FIRST, *_SECOND, *_WINNERS, *_LABELERS),
        *("model_a", "model_b", "margin", "id"),
    ),
)
