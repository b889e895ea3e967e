"""LMArena battles: two models' conversations on the same prompt, and the winner.

Rows are `model_a, model_b, winner, conversation_a, conversation_b`. In longer conversations each
model continues from its own response to the same questions; its completion then holds these turns.
"""

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.hh import shared_prompt
from app.formats.records import ComparisonRecord, PreferenceRecord, Row, VoteRecord, completion

_RANKS = {"model_a": (1, 2), "model_b": (2, 1), "tie": (1, 1)}
_BOTH_BAD = ("tie (bothbad)", "both_bad")


def read(row: Row) -> list[PreferenceRecord | ComparisonRecord]:
    """Read one battle; *both bad* becomes a comparison with one vote, which can carry it."""
    prompt, tails = shared_prompt(
        fields.messages(fields.items(row, "conversation_a"), "conversation_a"),
        fields.messages(fields.items(row, "conversation_b"), "conversation_b"),
    )
    candidates = tuple(
        completion(turns, fields.identifier(row, model))
        for turns, model in zip(tails, ("model_a", "model_b"), strict=True)
    )
    winner, name = fields.text(row, "winner"), fields.identifier(row, "question_id", "id")
    judge = fields.identifier(row, "judge", "evaluation_session_id")
    if winner in _BOTH_BAD:
        vote = VoteRecord(judge or "", Ranking((1, 1)), both_bad=True)
        return [ComparisonRecord(prompt, candidates, (vote,), comparison=name)]
    if winner not in _RANKS:
        raise Invalid(f"'winner' must be {', '.join([*_RANKS, *_BOTH_BAD])}, not {winner!r}")
    return [PreferenceRecord(prompt, candidates, Ranking(_RANKS[winner]), judge, source_id=name)]


_CLASSIFIED = "output of classifiers, not a judgment of the responses"

FORMAT = Format(
    "arena",
    "LMArena battles",
    has("model_a", "model_b", "winner", "conversation_a", "conversation_b"),
    read,
    fields=(
        *("model_a", "model_b", "winner", "conversation_a", "conversation_b"),
        *("question_id", "id", "judge", "evaluation_session_id"),
    ),
    ignores=dict.fromkeys(
        ("category_tag", "conv_metadata", "openai_moderation", "toxic_chat_tag"), _CLASSIFIED
    ),
)
