"""OpenAI's summarize_from_feedback comparisons: a post or an article, and two summaries.

Rows are `info, summaries, choice, worker`, with `extra.confidence` from 1 (the first is certainly
better) to 9 (the second is certainly better).
"""

from app.domain.ranking import Ranking, Strength, strength_of
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import CompletionText, PreferenceRecord, Row, Turn

_MIDDLE = 5


def read(row: Row) -> list[PreferenceRecord]:
    """Read one comparison under the worker who made it."""
    choice = fields.whole(row, "choice")
    if choice not in (0, 1):
        raise Invalid(f"'choice' must be 0 or 1, not {choice}")
    info = fields.inner(row, "info")
    return [
        PreferenceRecord(
            (Turn("user", _source(info)),),
            tuple(
                CompletionText(fields.text(summary, "text"), fields.identifier(summary, "policy"))
                for summary in fields.objects(row, "summaries")
            ),
            Ranking((1, 2) if choice == 0 else (2, 1)),
            labeler=fields.identifier(row, "worker"),
            strength=_strength(row, choice),
            source_id=fields.identifier(info, "id"),
        )
    ]


def _source(info: Row) -> str:
    title = fields.optional_text(info, "title") or ""
    body = fields.optional_text(info, "post") or fields.optional_text(info, "article") or ""
    return "\n\n".join(part for part in (title, body) if part.strip())


def _strength(row: Row, choice: int) -> Strength | None:
    """Read the strength: the distance from the middle, if it is on the side of the choice."""
    extra = row.get("extra")
    confidence = extra.get("confidence") if isinstance(extra, dict) else None
    if isinstance(confidence, bool) or not isinstance(confidence, int):
        return None
    distance = (confidence - _MIDDLE) * (1 if choice == 1 else -1)
    return strength_of(distance) if 1 <= distance <= 4 else None


FORMAT = Format(
    "summaries",
    "comparisons of summaries",
    has("info", "summaries", "choice"),
    read,
    fields=("info", "summaries.text", "summaries.policy", "choice", "worker", "extra"),
)
