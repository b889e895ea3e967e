"""Responses of two sides to the same prompts; a side is a model or a results file.

A side is named "model-3" or "file-2". Pairs are matched by the content of the prompt, so that a
model can be compared with a file, too. A model is shown with its first completion of each prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.domain.digits import number_of
from app.errors import NotFound
from app.models import Checkpoint, CheckpointKind, Completion, Prompt, ResultsRow
from app.services.checkpoints import checkpoints, results_files
from app.services.project import prompts

PAGE = 20
LONGER = 1.5
"""The ratio of lengths above which a response counts as much longer."""

Turns = Sequence[Mapping[str, Any]]


class Difference(StrEnum):
    """Filter by whether the responses differ."""

    ANY = ""
    DIFFERENT = "different"
    SAME = "same"


class Length(StrEnum):
    """Filter by the lengths of the responses."""

    ANY = ""
    FIRST = "first"
    SECOND = "second"
    MUCH = "much"  # either is half as long again


@dataclass(frozen=True, slots=True)
class SideChoice:
    """A model or file that can be chosen as a side."""

    key: str
    name: str
    answers: int


@dataclass(frozen=True, slots=True)
class PairFilter:
    """Which pairs to show, and in which order."""

    first: str
    second: str
    search: str = ""
    difference: Difference = Difference.ANY
    length: Length = Length.ANY
    by_length: bool = False  # the largest difference in length first
    number: int = 1  # of the page


@dataclass(frozen=True, slots=True)
class ResponsePair:
    """A prompt with the responses of both sides."""

    messages: Turns
    first: str
    second: str
    earlier_first: Turns = ()
    """The turns between the prompt and the first response, to a follow-up."""
    earlier_second: Turns = ()

    @property
    def is_same(self) -> bool:
        """True when both responses are identical, and the turns before them, too."""
        return self.first == self.second and self.earlier_first == self.earlier_second


@dataclass(frozen=True, slots=True)
class PairTotals:
    """Totals over all pairs; mean lengths in characters."""

    pairs: int
    same: int
    length_first: float | None
    length_second: float | None
    longer_first: int
    longer_second: int
    only_first: int
    only_second: int


@dataclass(frozen=True, slots=True)
class SideBySidePage:
    """A page of pairs, how many match the filter, and totals over all pairs."""

    first: SideChoice
    second: SideChoice
    pairs: tuple[ResponsePair, ...]
    found: int
    number: int
    totals: PairTotals

    @property
    def pages(self) -> int:
        """The number of pages."""
        return max(-(-self.found // PAGE), 1)

    @property
    def start(self) -> int:
        """The number of the first pair on this page."""
        return (self.number - 1) * PAGE + 1


def choices(session: Session, project_id: int) -> tuple[list[SideChoice], list[SideChoice]]:
    """Return the models that generate, and the results files."""
    query = (
        select(Completion.checkpoint_id, func.count(Completion.prompt_id.distinct()))
        .where(Completion.project_id == project_id, Completion.checkpoint_id.is_not(None))
        .group_by(Completion.checkpoint_id)
    )
    responses = {row[0]: row[1] for row in session.execute(query)}
    models = [
        SideChoice(f"model-{one.id}", one.name, responses.get(one.id, 0))
        for one in checkpoints.of_project(session, project_id)
        if one.kind != CheckpointKind.REWARD
    ]
    files = [
        SideChoice(f"file-{one.id}", one.name, one.rows)
        for one in results_files.of_project(session, project_id)
    ]
    return models, files


def page(session: Session, project_id: int, wanted: PairFilter) -> SideBySidePage:
    """Return a page of the pairs that match a filter.

    Raises:
        NotFound: a side is not of this project.
    """
    one, first = _side(session, project_id, wanted.first)
    other, second = _side(session, project_id, wanted.second)
    a, b = first.subquery("a"), second.subquery("b")
    columns = (a.c.messages, a.c.text, b.c.text, a.c.earlier, b.c.earlier)
    joined = select(*columns).join(b, a.c.hash == b.c.hash)
    query = joined.where(*_conditions(session, a, b, wanted))
    found = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    number = min(max(wanted.number, 1), max(-(-found // PAGE), 1))
    order = (_gap(a, b).desc(), a.c.place) if wanted.by_length else (a.c.place,)
    rows = session.execute(query.order_by(*order).offset((number - 1) * PAGE).limit(PAGE))
    pairs = tuple(ResponsePair(*row) for row in rows)
    return SideBySidePage(one, other, pairs, found, number, _totals(session, a, b, one, other))


def _side(session: Session, project_id: int, key: str) -> tuple[SideChoice, Select[Any]]:
    kind, _, number = key.partition("-")
    row_id = number_of(number)
    if kind not in {"model", "file"} or row_id is None:
        raise NotFound(f"there is no side {key!r}; sides are named like model-1 or file-1")
    if kind == "file":
        file = results_files.get(session, project_id, row_id)
        return SideChoice(key, file.name, file.rows), _of_file(file.id)
    model = checkpoints.get(session, project_id, row_id)
    query = _of_model(model)
    answers = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    return SideChoice(key, model.name, answers), query


def _of_file(file_id: int) -> Select[Any]:
    return select(
        ResultsRow.content_hash.label("hash"),
        ResultsRow.messages.label("messages"),
        ResultsRow.text.label("text"),
        ResultsRow.earlier.label("earlier"),
        ResultsRow.id.label("place"),
    ).where(ResultsRow.file_id == file_id)


def _of_model(model: Checkpoint) -> Select[Any]:
    newest = aliased(Completion)
    version = (
        select(func.max(newest.instruction_version))
        .where(newest.prompt_id == Completion.prompt_id, newest.checkpoint_id == model.id)
        .scalar_subquery()
    )
    first = (
        select(func.min(Completion.id))
        .where(Completion.checkpoint_id == model.id, Completion.instruction_version == version)
        .group_by(Completion.prompt_id)
    )
    return (
        select(
            Prompt.content_hash.label("hash"),
            Prompt.messages.label("messages"),
            Completion.text.label("text"),
            Completion.earlier.label("earlier"),
            Prompt.id.label("place"),
        )
        .join(Completion, Completion.prompt_id == Prompt.id)
        .where(Completion.id.in_(first))
    )


def _conditions(
    session: Session, a: Subquery, b: Subquery, filter_: PairFilter
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if filter_.search.strip():
        text = filter_.search.strip()
        conditions.append(
            or_(
                prompts.contains(session, a.c.messages, text),
                a.c.text.icontains(text, autoescape=True),
                b.c.text.icontains(text, autoescape=True),
            )
        )
    if filter_.difference is Difference.DIFFERENT:
        conditions.append(a.c.text != b.c.text)
    elif filter_.difference is Difference.SAME:
        conditions.append(a.c.text == b.c.text)
    one, other = func.length(a.c.text), func.length(b.c.text)
    by_length: dict[Length, ColumnElement[bool]] = {
        Length.FIRST: one > other,
        Length.SECOND: other > one,
        Length.MUCH: or_(one > LONGER * other, other > LONGER * one),
    }
    if filter_.length in by_length:
        conditions.append(by_length[filter_.length])
    return conditions


def _gap(a: Subquery, b: Subquery) -> ColumnElement[int]:
    return func.abs(func.length(a.c.text) - func.length(b.c.text))


def _totals(
    session: Session, a: Subquery, b: Subquery, one: SideChoice, other: SideChoice
) -> PairTotals:
    first, second = func.length(a.c.text), func.length(b.c.text)
    query = select(
        func.count(),
        func.sum(case((a.c.text == b.c.text, 1), else_=0)),
        func.avg(first),
        func.avg(second),
        func.sum(case((first > second, 1), else_=0)),
        func.sum(case((second > first, 1), else_=0)),
    ).join_from(a, b, and_(a.c.hash == b.c.hash))
    pairs, same, mean_first, mean_second, longer, shorter = session.execute(query).one()
    return PairTotals(
        pairs,
        int(same or 0),
        None if mean_first is None else float(mean_first),
        None if mean_second is None else float(mean_second),
        int(longer or 0),
        int(shorter or 0),
        one.answers - pairs,
        other.answers - pairs,
    )
