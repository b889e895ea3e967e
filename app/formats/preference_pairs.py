"""Preferences between two completions: built from a winner, and read as one.

What a preference is, `records` says.
"""

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats.records import (
    CompletionText,
    Conversation,
    Meta,
    PreferenceRecord,
    completion,
    has_one_text,
)

OWN_TURNS = (
    "the two responses answer a follow-up, each after a first response of its own, which the "
    "format cannot hold; trl-explicit, trl-implicit, hh, unpaired and rich can"
)


def chosen_and_rejected(
    messages: Conversation,
    chosen: str | Conversation,
    rejected: str | Conversation,
    *,
    sources: tuple[str | None, str | None] = (None, None),
    margin: float | None = None,
    source_id: str | None = None,
    meta: Meta | None = None,
) -> PreferenceRecord:
    """Build a preference between two completions of which only the winner is known.

    A completion is its text, or all turns after the prompt.
    """
    return PreferenceRecord(
        messages,
        (completion(chosen, sources[0]), completion(rejected, sources[1])),
        Ranking((1, 2)),
        margin=margin,
        source_id=source_id,
        meta=meta or {},
    )


def pair(record: PreferenceRecord) -> tuple[str, str]:
    """Return the chosen and the rejected text of a preference between two completions.

    Raises Invalid for responses to a follow-up, and for what `conversation_pair` refuses.
    """
    chosen, rejected = conversation_pair(record)
    if chosen.earlier or rejected.earlier:
        raise Invalid(OWN_TURNS)
    return chosen.text, rejected.text


def conversation_pair(record: PreferenceRecord) -> tuple[CompletionText, CompletionText]:
    """Return the chosen and the rejected completion of a preference, with their earlier turns.

    Raises Invalid for a tie and for more than two completions, which a chosen/rejected row cannot
    express.
    """
    if len(record.candidates) != 2:
        raise Invalid(f"a pair must have two completions, not {len(record.candidates)}")
    first, second = record.ranking.ranks
    if first == second:
        raise Invalid("a tie has no chosen completion")
    if has_one_text(record.candidates):
        raise Invalid("all completions have the same text")
    chosen, rejected = record.candidates
    return (chosen, rejected) if first < second else (rejected, chosen)
