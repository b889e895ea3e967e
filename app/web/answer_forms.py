"""Answers as plain forms send them and show them, for every kind of judgment.

The same form opens empty, with what was answered before, or with what was refused, so that nothing
typed is lost. What a project allows is checked in the domain.
"""

from dataclasses import dataclass

from pydantic import BaseModel

from app.domain.answers import (
    STRENGTH_NAMES,
    Body,
    EditBody,
    PickBody,
    RankBody,
    RateBody,
    ThumbsBody,
    WriteBody,
)
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.models import JudgmentKind
from app.services.judging.submissions import Skip, Submission
from app.web.assignments import AssignmentOut


class AnswerForm(BaseModel):
    """An answer as a plain form sends it."""

    key: str = ""
    assignment_id: int = 0
    lease_token: str = ""
    kind: JudgmentKind = JudgmentKind.PICK
    choice: str = ""  # "a", "a3", "tie": the side and its strength
    ranks: list[str] = []  # "position:rank"
    both_bad: bool = False
    criteria: list[str] = []  # the names that the form was made with
    ratings: list[str] = []  # "criterion's index:position:rating"
    thumb: str = ""
    reasons: list[str] = []
    text: str = ""
    flags: list[str] = []
    comment: str = ""

    def body(self) -> Body:
        """Return what was answered."""
        match self.kind:
            case JudgmentKind.PICK:
                return self._pick()
            case JudgmentKind.RANK:
                return self._rank()
            case JudgmentKind.RATE:
                return self._rate()
            case JudgmentKind.THUMBS:
                if not self.thumb:
                    raise Invalid("say whether the answer is good or bad")
                return ThumbsBody(self.thumb, tuple(self.reasons))
            case JudgmentKind.WRITE:
                return WriteBody(_lines(self.text))
            case JudgmentKind.EDIT:
                return EditBody(_lines(self.text))

    def _pick(self) -> PickBody:
        if self.choice in {"", "tie"}:
            return PickBody(self.choice or None, None, self.both_bad)
        strength = int(self.choice[1:]) if self.choice[1:].isdigit() else None
        return PickBody(self.choice[:1], strength, self.both_bad)

    def _rank(self) -> RankBody:
        if self.both_bad:
            return RankBody(None, both_bad=True)
        given = dict(one.split(":", 1) for one in self.ranks if ":" in one)
        chosen = {int(position): int(rank) for position, rank in given.items() if rank.isdigit()}
        if len(chosen) < len(self.ranks):
            raise Invalid("give every answer a rank, or say that they cannot be ranked")
        ranking = Ranking.of_positions([chosen[position] for position in sorted(chosen)])
        return RankBody(ranking.ranks)

    def _rate(self) -> RateBody:
        given: dict[int, dict[int, int]] = {at: {} for at in range(len(self.criteria))}
        for one in self.ratings:
            parts = [int(part) if part.isdecimal() else -1 for part in one.split(":")]
            if len(parts) != 3 or parts[0] not in given or min(parts) < 0:
                raise Invalid("rate every answer on every criterion")
            given[parts[0]][parts[1]] = parts[2]
        return RateBody(
            {
                name: tuple(given[at][position] for position in sorted(given[at]))
                for at, name in enumerate(self.criteria)
            }
        )

    def submission(self) -> Submission:
        """Return it for the service; a form sent twice carries the same key."""
        return Submission(
            self.assignment_id,
            self.lease_token,
            self.key or f"form-{self.assignment_id}-{self.lease_token}"[:64],
            self.body(),
            tuple(self.flags),
            self.comment,
        )


class SkipForm(BaseModel):
    """A skip as a plain form sends it."""

    assignment_id: int
    lease_token: str
    reason: str = ""
    comment: str = ""

    def skip(self) -> Skip:
        """Return it for the service."""
        key = f"form-{self.assignment_id}-{self.lease_token}"[:64]
        return Skip(self.assignment_id, self.lease_token, key, self.reason, self.comment)


@dataclass(frozen=True, slots=True)
class Choice:
    """One step of the scale between two answers: its value, and how it reads."""

    value: str
    label: str
    place: int | None  # on screen, 1 or 2; None for about the same
    strength: int | None = None


def filled(assignment: AssignmentOut) -> AnswerForm:
    """Return the form as it opens: with what was answered before, if anything."""
    form = AnswerForm(kind=assignment.kind, criteria=[one.name for one in assignment.criteria])
    if assignment.kind == JudgmentKind.EDIT:
        form.text = assignment.candidates[0].text
    previous = assignment.previous
    if previous is None:
        return form
    form.flags, form.comment = list(previous.flags), previous.comment
    match previous.answer.kind:
        case "pick":
            form.choice = f"{previous.answer.preferred or ''}{previous.answer.strength or ''}"
            form.both_bad = previous.answer.both_bad
        case "rank":
            ranking = enumerate(previous.answer.ranking or ())
            form.ranks = [f"{position}:{rank}" for position, rank in ranking]
            form.both_bad = previous.answer.both_bad
        case "rate":
            form.ratings = _ratings(form.criteria, previous.answer.ratings)
        case "thumbs":
            form.thumb, form.reasons = previous.answer.thumb, list(previous.answer.reasons)
        case "write" | "edit":
            form.text = previous.answer.text
    return form


def choices_of(assignment: AssignmentOut, chosen: str = "") -> list[Choice]:
    """Return the scale of a pick, in the order shown.

    A side that was `chosen` without a strength, where strengths are asked for, is a choice too.
    """
    if assignment.kind != JudgmentKind.PICK:
        return []
    first, second = ("ab"[one.position] for one in assignment.candidates)
    steps = assignment.strengths

    def side(letter: str, place: int, strength: int | None) -> Choice:
        if strength is None:
            return Choice(letter, f"{place} is better", place)
        return Choice(f"{letter}{strength}", f"{STRENGTH_NAMES[strength]} {place}", place, strength)

    def sides(letter: str, place: int) -> list[Choice]:
        plain = [side(letter, place, None)] if not steps or chosen == letter else []
        return [side(letter, place, strength) for strength in steps] + plain

    middle = [Choice("tie", "About the same", None)] if assignment.allow_tie else []
    return sides(first, 1)[::-1] + middle + sides(second, 2)


def _ratings(criteria: list[str], ratings: dict[str, list[int]]) -> list[str]:
    return [
        f"{at}:{position}:{rating}"
        for at, name in enumerate(criteria)
        for position, rating in enumerate(ratings.get(name, ()))
    ]


def _lines(text: str) -> str:
    # Forms send every line's end as two characters.
    return text.replace("\r\n", "\n")
