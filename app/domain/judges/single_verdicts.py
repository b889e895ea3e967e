"""From an AI judge's replies about single responses to a judgment: ratings on criteria, or a thumb.

Each response is asked about twice, and both replies are combined. Nothing is guessed: a reply that
leaves out a criterion, names another or leaves the scale raises Invalid with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.judges import replies
from app.domain.judges.prompts import Rubric
from app.domain.judgment_kinds import JudgmentKind, RateBody, Rules
from app.domain.judgment_kinds.rate import STEPS_OFF
from app.errors import Invalid

_THUMBS = {"up": "up", "thumbs up": "up", "down": "down", "thumbs down": "down"}


@dataclass(frozen=True, slots=True)
class ShownRatings:
    """What a judge gave one response on each criterion."""

    ratings: Mapping[str, int]
    explanation: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the reply as plain JSON values."""
        return {"ratings": dict(self.ratings), "explanation": self.explanation}


@dataclass(frozen=True, slots=True)
class ShownThumb:
    """Whether a judge found one response good: up or down."""

    thumb: str
    explanation: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the reply as plain JSON values."""
        return {"thumb": self.thumb, "explanation": self.explanation}


@dataclass(frozen=True, slots=True)
class RatedVerdict:
    """The ratings of each criterion by canonical position; consistent within a point."""

    ratings: Mapping[str, tuple[int, ...]]
    is_consistent: bool

    def to_columns(self) -> dict[str, Any]:
        """Return the verdict as columns of an AI judgment."""
        return {"ratings": {name: list(values) for name, values in self.ratings.items()}}


@dataclass(frozen=True, slots=True)
class ThumbVerdict:
    """The thumb of the one response; None, and not consistent, if both replies differ."""

    thumb: str | None
    is_consistent: bool

    def to_columns(self) -> dict[str, Any]:
        """Return the verdict as columns of an AI judgment."""
        return {"thumb": self.thumb}


def read_ratings(reply: str, rubric: Rubric) -> ShownRatings:
    """Read a judge's ratings of one response.

    Raises:
        Invalid: a criterion is missing or unknown, or a rating is off the scale.
    """
    content = replies.last_object(reply, "ratings")
    given = content["ratings"]
    if not isinstance(given, dict):
        raise Invalid(f"ratings must be an object by criterion, not {replies.short(given)}")
    values = {str(name).strip(): replies.whole(value) for name, value in given.items()}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise Invalid(
                f"a rating is a whole number from 1 to {rubric.rating_max}, not "
                f"{replies.short(value)}, on {name!r}"
            )
    body = RateBody({name: (value,) for name, value in values.items() if isinstance(value, int)})
    rules = Rules(
        JudgmentKind.RATE, 1, rating_max=rubric.rating_max, criteria=dict(rubric.criteria)
    )
    checked = body.checked(rules).ratings
    return ShownRatings(
        {name: value for name, (value,) in checked.items()}, replies.explanation(content)
    )


def read_thumb(reply: str) -> ShownThumb:
    """Read whether a judge finds one response good.

    Raises:
        Invalid: it is neither up nor down.
    """
    content = replies.last_object(reply, "thumb")
    said = str(content["thumb"]).strip().lower().strip('"[]. ').replace("_", " ")
    if said not in _THUMBS:
        raise Invalid(f"thumb must be up or down, not {replies.short(content['thumb'])}")
    return ShownThumb(_THUMBS[said], replies.explanation(content))


def combined_ratings(
    shown: Sequence[tuple[Sequence[int], ShownRatings]], rating_max: int
) -> RatedVerdict:
    """Combine the replies about all responses; each lists the one position that it is about.

    The result is the mean, with a half rounded towards the middle of the scale: a judge that
    wavers is not surer than it says.
    """
    by_position: dict[int, list[ShownRatings]] = {}
    for (position,), ratings in shown:
        by_position.setdefault(position, []).append(ratings)
    ordered = [by_position[position] for position in sorted(by_position)]
    names = ordered[0][0].ratings
    given = {name: [[one.ratings[name] for one in each] for each in ordered] for name in names}
    return RatedVerdict(
        {name: tuple(_mean(each, rating_max) for each in lists) for name, lists in given.items()},
        all(max(each) - min(each) <= STEPS_OFF for lists in given.values() for each in lists),
    )


def combined_thumb(shown: Sequence[tuple[Sequence[int], ShownThumb]]) -> ThumbVerdict:
    """Combine the replies about the one response."""
    thumbs = {verdict.thumb for _, verdict in shown}
    is_consistent = len(thumbs) == 1
    return ThumbVerdict(thumbs.pop() if is_consistent else None, is_consistent)


def _mean(ratings: Sequence[int], rating_max: int) -> int:
    total, count = sum(ratings), len(ratings)
    if 2 * (total % count) == count:
        low = total // count
        return low + 1 if 2 * low + 1 < rating_max + 1 else low
    return round(total / count)
