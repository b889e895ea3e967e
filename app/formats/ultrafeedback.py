"""UltraFeedback: an instruction and up to four completions, each rated on four aspects.

Completions are ranked by the mean of their fine-grained ratings. The file's own overall score is
not used: in 2,628 completions it says 10 where 1 was meant.
"""

from collections.abc import Mapping

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import Candidate, Message, PreferenceRecord, Row


def recognises(row: Row) -> bool:
    """Tell a row of an instruction with rated completions."""
    completions = row.get("completions")
    return "instruction" in row and (
        isinstance(completions, list)
        and bool(completions)
        and all(isinstance(one, Mapping) and "annotations" in one for one in completions)
    )


def read(row: Row) -> list[PreferenceRecord]:
    """Read one ranking; completions without a rating are left out of it."""
    rated = [
        (mean, Candidate(fields.text(one, "response"), fields.identifier(one, "model")))
        for one in fields.objects(row, "completions")
        if (mean := _mean_rating(one)) is not None
    ]
    if len(rated) < 2:
        raise Invalid(f"only {len(rated)} completions are rated; a ranking needs two")
    return [
        PreferenceRecord(
            (Message("user", fields.text(row, "instruction")),),
            tuple(candidate for _, candidate in rated),
            Ranking.of_positions([-mean for mean, _ in rated]),
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
    recognises,
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
