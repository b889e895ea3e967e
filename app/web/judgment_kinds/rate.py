"""Rate on the web side: a rating for each response on each criterion."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from app.domain.judgment_kinds import JudgmentKind, RateBody
from app.errors import Invalid
from app.web.judgment_kinds.kind import (
    JudgmentForm,
    JudgmentIn,
    JudgmentOut,
    PageKind,
    by_position,
    position_of,
    quoted,
    whole_number,
)

_RATING_MOST = 9  # of any project; the domain checks this project's


class RateIn(JudgmentIn):
    """For each criterion the rating of each canonical position, from 1 to the highest rating."""

    kind: Literal["rate"]
    ratings: Annotated[
        dict[str, Annotated[list[StrictInt], Field(max_length=9)]], Field(max_length=100)
    ]


class RateOut(JudgmentOut):
    """Ratings as they were given."""

    kind: Literal["rate"] = "rate"
    ratings: dict[str, list[int]]

    def fill(self, form: JudgmentForm) -> None:
        """Fill in the form with these ratings."""
        form.ratings = [
            f"{at}:{position}:{rating}"
            for at, name in enumerate(form.criteria)
            for position, rating in enumerate(self.ratings.get(name, ()))
        ]

    def words(self, names: Mapping[int, str]) -> str:
        """Describe the ratings, in the order of the names."""
        return "; ".join(
            f"{criterion} {' · '.join(str(values[at]) for at in names if at < len(values))}"
            for criterion, values in self.ratings.items()
        )


def parse(form: JudgmentForm) -> RateBody:
    """Read the ratings by criterion and position."""
    ratings: dict[str, dict[int, int]] = {}
    for name in form.criteria:
        if name in ratings:
            raise Invalid(f"the form names criterion {quoted(name)} twice")
        ratings[name] = {}
    for entry in form.ratings:
        name, position, rating = _entry(entry, form.criteria)
        if position in ratings[name]:
            raise Invalid(f"{quoted(name)} rates position {position} twice, in {quoted(entry)}")
        ratings[name][position] = rating
    return RateBody(
        {name: by_position(f"the rating on {quoted(name)}", of) for name, of in ratings.items()}
    )


def _entry(entry: str, criteria: Sequence[str]) -> tuple[str, int, int]:
    parts = entry.split(":")
    if len(parts) != 3:
        raise Invalid(f"a rating must be given as criterion:position:rating, not {quoted(entry)}")
    if not criteria:
        raise Invalid(f"rating {quoted(entry)} is of a criterion, but the form names none")
    what = f"rating {quoted(entry)}"
    at = whole_number(f"{what}: the criterion", parts[0], 0, len(criteria) - 1)
    position = position_of(what, parts[1])
    if not parts[2]:
        raise Invalid(f"rate every response on {quoted(criteria[at])}")
    return criteria[at], position, whole_number(f"{what}: the rating", parts[2], 1, _RATING_MOST)


RATE = PageKind(
    JudgmentKind.RATE,
    parse,
    question="How good is each response?",
    task="Rate each response.",
    task_keys=("1", "5"),
    task_by_keys="Click, or press a number",
    verb="rate",
    settled_format="The answer holds the ratings of the completions by criterion.",
)
