"""Stanford Human Preferences: a post and two comments, of which votes prefer one.

Rows are `history, human_ref_A, human_ref_B, labels`; `labels` is 1 if A is preferred.
"""

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import CompletionText, PreferenceRecord, Row, Turn


def read(row: Row) -> list[PreferenceRecord]:
    """Read one preference; the margin is the ratio of the comments' scores."""
    label = fields.whole(row, "labels")
    if label not in (0, 1):
        raise Invalid(f"'labels' must be 0 or 1, not {label}")
    return [
        PreferenceRecord(
            (Turn("user", fields.text(row, "history")),),
            tuple(CompletionText(fields.text(row, key)) for key in ("human_ref_A", "human_ref_B")),
            Ranking((1, 2) if label == 1 else (2, 1)),
            margin=fields.optional_number(row, "score_ratio"),
            source_id=fields.identifier(row, "post_id"),
            meta=_notes(row),
        )
    ]


def _notes(row: Row) -> Row:
    """Return the forum as the domain, without the name of SHP's own split at its end."""
    domain = fields.optional_text(row, "domain")
    if domain is None:
        return {}
    forum, _, split = domain.rpartition("_")
    return {"domain": forum if split in ("train", "validation", "test") else domain}


FORMAT = Format(
    "shp",
    "Stanford Human Preferences",
    has("history", "human_ref_A", "human_ref_B", "labels"),
    read,
    fields=(
        *("history", "human_ref_A", "human_ref_B", "labels", "score_ratio", "post_id"),
        "domain",
    ),
    ignores={
        "score_A": "the votes that 'labels' and 'score_ratio' are made of",
        "score_B": "the votes that 'labels' and 'score_ratio' are made of",
        "upvote_ratio": "the votes on the post, not on the comments",
    },
)
