"""Rate: each completion on each of the project's criteria."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from app.domain.judgment_kinds.kind import JudgmentBody, JudgmentKind, Kind, Rules
from app.domain.ranking import MOST
from app.errors import Invalid

STEPS_OFF = 1
"""How far a rating may be from the settled one."""


@dataclass(frozen=True, slots=True)
class RateBody(JudgmentBody):
    """For each criterion the rating of each canonical position."""

    ratings: Mapping[str, tuple[int, ...]]

    kind = JudgmentKind.RATE

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read a body from values by name."""
        ratings: Mapping[str, Sequence[int]] = content["ratings"] or {}
        return cls({name: tuple(values) for name, values in ratings.items()})

    @classmethod
    def from_settled(cls, answer: Mapping[str, Any]) -> Self | None:
        """Read a settled answer."""
        return cls.from_json(answer) if answer.get("ratings") else None

    def to_json(self) -> dict[str, Any]:
        """Return the body as plain JSON values by name."""
        return {"ratings": {name: list(values) for name, values in self.ratings.items()}}

    def checked(self, rules: Rules) -> Self:
        """Return the ratings in the order of the criteria; raise Invalid if they break a rule."""
        for name in self.ratings:
            if name not in rules.criteria:
                asked = ", ".join(rules.criteria) or "none"
                raise Invalid(f"criteria rated here: {asked}; not {name!r}")
        if not rules.criteria:
            raise Invalid("this project has no criteria to rate on")
        for name in rules.criteria:
            _check_values(name, self.ratings.get(name), rules)
        return type(self)({name: tuple(self.ratings[name]) for name in rules.criteria})

    def is_right(self, settled: Self) -> bool:
        """Return whether no rating is more than one step from the settled one."""
        # A criterion that has gone out of use since is not asked for any more.
        shared = [name for name in settled.ratings if name in self.ratings]
        return all(
            abs(expected - given) <= STEPS_OFF
            for name in shared
            for expected, given in zip(settled.ratings[name], self.ratings[name], strict=True)
        )


def _check_values(name: str, values: Sequence[int] | None, rules: Rules) -> None:
    if values is None:
        raise Invalid(f"the judgment is not complete: nothing is rated on {name!r}")
    if len(values) != rules.k:
        raise Invalid(f"{name!r} has {len(values)} ratings for {rules.k} completions")
    for value in values:
        if isinstance(value, bool) or not 1 <= value <= rules.rating_max:
            raise Invalid(f"a rating is 1 to {rules.rating_max}, not {value}, on {name!r}")


RATE = Kind(RateBody, "ratings", fewest=1, most=MOST, uses_criteria=True)
