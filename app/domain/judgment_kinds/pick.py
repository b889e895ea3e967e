"""Pick: the better of two completions, optionally with a strength, a tie, or both bad."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.domain.judgment_kinds.kind import JudgmentKind, Kind, OrderBody, Rules
from app.domain.ranking import Pick, Ranking, Side, strength_of
from app.errors import Invalid

_SIDES = {Pick(side).ranking.ranks: side.value for side in Side}
STRENGTH_NAMES = {1: "Negligibly", 2: "Slightly", 3: "Clearly", 4: "Strongly"}


@dataclass(frozen=True, slots=True)
class PickBody(OrderBody):
    """`a`, `b` or `tie`, optionally with a strength; or both bad; or an order and both bad."""

    preferred: str | None = None
    strength: int | None = None
    both_bad: bool = False

    kind = JudgmentKind.PICK

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read a body from values by name."""
        return cls(content["preferred"], content["strength"], content["both_bad"])

    @classmethod
    def from_settled(cls, answer: Mapping[str, Any]) -> Self | None:
        """Read a settled answer; its strength is a matter of degree and is left out."""
        preferred, both_bad = answer.get("preferred"), bool(answer.get("both_bad"))
        return cls(preferred, None, both_bad) if preferred or both_bad else None

    @classmethod
    def of_ranking(cls, ranking: Ranking | None, *, both_bad: bool) -> Self:
        """Return the pick that gives this ranking of two."""
        if ranking is None:
            return cls(None, None, both_bad)
        return cls(_SIDES[ranking.ranks], None, both_bad)

    def to_json(self) -> dict[str, Any]:
        """Return the body as plain JSON values by name."""
        return {
            "preferred": self.preferred,
            "strength": self.strength,
            "both_bad": self.both_bad,
        }

    def checked(self, rules: Rules) -> Self:
        """Return the body as it is stored; raise Invalid if it breaks a rule."""
        self.refuse_both_bad(rules)
        if self.preferred is not None:
            self._check_preferred(self.preferred, rules)
        elif self.strength is not None:
            raise Invalid(f"strength {self.strength} was given, but nothing is preferred")
        elif not self.both_bad:
            raise Invalid("the judgment is not complete: it prefers nothing and is not both bad")
        return self

    def is_right(self, settled: Self) -> bool:
        """Return whether it prefers the same side; the strength does not matter.

        *Both bad* matters only where the settled answer prefers nothing.
        """
        if settled.preferred is None:
            return self.both_bad and self.preferred is None
        return self.preferred == settled.preferred

    def _check_preferred(self, preferred: str, rules: Rules) -> None:
        if preferred not in tuple(Side):
            raise Invalid(f"preferred must be a, b or tie, not {preferred!r}")
        side = Side(preferred)
        if side is Side.TIE and not rules.allow_tie:
            raise Invalid("this project does not offer a tie")
        if self.strength is None:
            return
        if self.strength not in rules.strengths:
            offered = ", ".join(map(str, rules.strengths)) or "none"
            raise Invalid(f"strengths offered here: {offered}; not {self.strength}")
        Pick(side, strength_of(self.strength))  # raises Invalid for a tie with a strength


PICK = Kind(PickBody, "a pick", fewest=2, most=2)
