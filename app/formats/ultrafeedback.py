"""UltraFeedback: an instruction and up to four completions, each rated on four aspects.

Completions are ranked by the mean of their fine-grained ratings. The overall score in the file is
not used: for 2,628 completions it is 10 where 1 was meant.
"""

from collections.abc import Mapping

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import CompletionText, PreferenceRecord, Row, Turn


def recognizes(row: Row) -> bool:
    """Whether the row has an instruction with rated completions."""
    completions = row.get("completions")
    return "instruction" in row and (
        isinstance(completions, list)
        and bool(completions)
        and all(isinstance(rated, Mapping) and "annotations" in rated for rated in completions)
    )


def read(row: Row) -> list[PreferenceRecord]:
    """Read one ranking; completions without a rating are left out of it."""
    ratings = [
        (mean, CompletionText(fields.text(rated, "response"), fields.identifier(rated, "model")))
        for rated in fields.objects(row, "completions")
        if (mean := _mean_rating(rated)) is not None
    ]
    if len(ratings) < 2:
        raise Invalid(f"a ranking needs at least two rated completions, not {len(ratings)}")
    return [
        PreferenceRecord(
            (Turn("user", fields.text(row, "instruction")),),
            tuple(candidate for _, candidate in ratings),
            Ranking.of_positions([-mean for mean, _ in ratings]),
        )
    ]


def _mean_rating(completion: Row) -> float | None:
    ratings = [
        float(rating)
        for aspect in fields.inner(completion, "annotations").values()
        if isinstance(aspect, Mapping) and (rating := str(aspect.get("Rating"))).isdecimal()
    ]
    return sum(ratings) / len(ratings) if ratings else None


_OVERALL = "the mean of the fine-grained ratings is used in its place"

FORMAT = Format(
    "ultrafeedback",
    "UltraFeedback rated completions",
    recognizes,
    read,
    fields=(
        *("instruction", "completions.response", "completions.model"),
        "completions.annotations",
    ),
    ignores={
        "completions.overall_score": _OVERALL,
        "completions.fine-grained_score": _OVERALL,
    },
    needs=has("instruction", "completions"),
)
