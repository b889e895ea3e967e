"""Rank: an ordering of the completions with ties, or *cannot be ranked*."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.domain.judgment_kinds.kind import JudgmentKind, Kind, OrderBody, Rules
from app.domain.ranking import FEWEST, MOST, Ranking
from app.errors import Invalid

SAME_PAIRS = 0.75
"""Share of a ranking's pairs that must be in the settled order, beside the same first place."""


@dataclass(frozen=True, slots=True)
class RankBody(OrderBody):
    """The rank of each canonical position, equal for ties; or `both_bad`: it cannot be ranked."""

    ranking: tuple[int, ...] | None = None
    both_bad: bool = False

    kind = JudgmentKind.RANK

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read a body from values by name."""
        ranking = content["ranking"]
        return cls(None if ranking is None else tuple(ranking), content["both_bad"])

    @classmethod
    def from_settled(cls, answer: Mapping[str, Any]) -> Self | None:
        """Read a settled answer; *both bad* beside a ranking is left out."""
        if ranking := answer.get("ranking"):
            return cls(tuple(ranking))
        return cls(both_bad=True) if answer.get("both_bad") else None

    @classmethod
    def of_ranking(cls, ranking: Ranking | None, *, both_bad: bool) -> Self:
        """Return the judgment that gives this ranking."""
        return cls(None if ranking is None else ranking.ranks, both_bad)

    def to_json(self) -> dict[str, Any]:
        """Return the body as plain JSON values by name."""
        ranking = None if self.ranking is None else list(self.ranking)
        return {"ranking": ranking, "both_bad": self.both_bad}

    def checked(self, rules: Rules) -> Self:
        """Return the body as it is stored; raise Invalid if it breaks a rule."""
        self.refuse_both_bad(rules)
        if self.ranking is not None:
            self._check_ranking(self.ranking, rules)
        elif not self.both_bad:
            raise Invalid("the judgment is not complete: it prefers nothing and is not both bad")
        return self

    def is_right(self, settled: Self) -> bool:
        """Return whether the first place and three quarters of the pairs are the settled ones."""
        if settled.ranking is None or self.ranking is None:
            return settled.ranking is self.ranking
        expected, given = Ranking(settled.ranking), Ranking(self.ranking)
        same = sum(a == b for a, b in zip(expected.signs, given.signs, strict=True))
        return expected.first == given.first and same >= SAME_PAIRS * len(expected.signs)

    def _check_ranking(self, ranks: tuple[int, ...], rules: Rules) -> None:
        if self.both_bad:
            raise Invalid("a comparison that cannot be ranked has no ranking")
        if len(ranks) != rules.k:
            raise Invalid(f"the ranking has {len(ranks)} places for {rules.k} completions")
        Ranking(ranks)  # raises Invalid unless these are standard competition ranks
        if not rules.allow_tie and len(set(ranks)) < rules.k:
            raise Invalid(f"this project does not offer ties, but {list(ranks)} has one")


RANK = Kind(RankBody, "a ranking", fewest=FEWEST, most=MOST)
