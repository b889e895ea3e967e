"""Rank on the web side: a rank for each response, ties allowed, or *cannot be ranked*."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from app.domain.judgment_kinds import JudgmentKind, RankBody
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.web.judgment_kinds.kind import (
    LETTERS,
    JudgmentForm,
    JudgmentIn,
    JudgmentOut,
    PageKind,
    SettlementForm,
    by_position,
    position_of,
    quoted,
    whole_number,
)


class RankIn(JudgmentIn):
    """The competition rank of each canonical position; null with `both_bad`: cannot be ranked."""

    kind: Literal["rank"]
    ranking: Annotated[list[int], Field(max_length=9)] | None = None
    both_bad: bool = False


class RankOut(JudgmentOut):
    """A ranking as it was given."""

    kind: Literal["rank"] = "rank"
    ranking: list[int] | None
    both_bad: bool

    def fill(self, form: JudgmentForm) -> None:
        """Fill in the form with this ranking."""
        form.ranks = [f"{position}:{rank}" for position, rank in enumerate(self.ranking or ())]
        form.both_bad = "1" if self.both_bad else ""

    def words(self, names: Mapping[int, str]) -> str:
        """Describe the ranking."""
        if self.ranking is None:
            return "Cannot be ranked"
        groups = Ranking(tuple(self.ranking)).groups
        return " > ".join(" = ".join(names[place] for place in group) for group in groups)


def parse(form: JudgmentForm) -> RankBody:
    """Read the ranks; equal ones are ties, and the numbers in between may be skipped."""
    if form.is_both_bad():
        return RankBody(None, both_bad=True)
    ranks: dict[int, int] = {}
    for entry in form.ranks:
        position, rank = _entry(entry, len(form.ranks))
        if position in ranks:
            raise Invalid(f"the ranking names position {position} twice, in {quoted(entry)}")
        ranks[position] = rank
    return RankBody(Ranking.of_positions(by_position("the ranking", ranks)).ranks)


def _entry(entry: str, most: int) -> tuple[int, int]:
    position, colon, rank = entry.partition(":")
    if not colon:
        raise Invalid(f"a rank must be given as position:rank, not {quoted(entry)}")
    at = position_of(f"rank {quoted(entry)}", position)
    if not rank:
        raise Invalid("give every response a rank, or tick that they cannot be ranked")
    return at, whole_number(f"rank {quoted(entry)}: the rank", rank, 1, most)


def settle(form: SettlementForm) -> RankBody:
    """Read a settlement."""
    if form.preferred == "bad":
        return RankBody(both_bad=True)
    if form.preferred:
        raise Invalid(f"the answer must be bad or left out, not {quoted(form.preferred)}")
    if not form.ranks:
        return RankBody()
    if missing := [name for name, rank in zip(LETTERS, form.ranks, strict=False) if not rank]:
        raise Invalid(
            "give every response a rank, or settle that they cannot be ranked: no rank is given to "
            + ", ".join(missing)
        )
    ranks = [
        whole_number(f"the rank of {letter}", rank, 1, len(form.ranks))
        for letter, rank in zip(LETTERS, form.ranks, strict=False)
    ]
    return RankBody(Ranking.of_positions(ranks).ranks)


RANK = PageKind(
    JudgmentKind.RANK,
    parse,
    question="Best first",
    task="Put the best first: move the responses.",
    task_keys=("1", "2", "3"),
    task_by_keys="Or press their numbers in order",
    verb="rank",
    settle=settle,
    settled_format='The answer is a list of ranks, in their order in the file, or `"both_bad"`.',
)
