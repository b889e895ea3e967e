"""Criteria: what a project's labelers rate completions on, in order.

A criterion is known by its name, which judgments carry; so one that judgments name is never
deleted and never renamed, only put out of use. Its weight stays in the mean of the ratings that
were given on it; a weight of 0 takes it out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.models import Criterion, Judgment, JudgmentKind, Project
from app.services.people import audit

NAME_LONGEST, HELP_LONGEST = 60, 1000
MOST = 12
WEIGHT_MOST = 1000.0
FIRST = ("quality", "How good the answer is as a whole.")


@dataclass(frozen=True, slots=True)
class CriterionSettings:
    """A criterion as it is wanted."""

    name: str
    help: str = ""
    weight: float = 1.0
    is_active: bool = True


def of_project(session: Session, project_id: int) -> list[Criterion]:
    """Return every criterion, those in use first, in order."""
    query = (
        select(Criterion)
        .where(Criterion.project_id == project_id)
        .order_by(Criterion.is_active.desc(), Criterion.position, Criterion.id)
    )
    return list(session.scalars(query))


def active(session: Session, project_id: int) -> list[Criterion]:
    """Return the criteria in use, in order."""
    return [one for one in of_project(session, project_id) if one.is_active]


def weights(session: Session, project_id: int) -> dict[str, float]:
    """Return every criterion's weight by its name."""
    return {one.name: one.weight for one in of_project(session, project_id)}


def arrange(
    session: Session, project: Project, wanted: Sequence[CriterionSettings], *, actor_id: int | None
) -> list[Criterion]:
    """Make these the project's criteria, in this order; return all there are.

    One that is left out goes, or only out of use if a judgment names it.

    Raises:
        Invalid: a name is empty, too long or there twice, a weight is no share of a mean, or
            labelers who rate would have nothing to rate on.
    """
    wanted = [replace(one, name=one.name.strip(), help=one.help.strip()) for one in wanted]
    _check(project, wanted)
    known = {one.name: one for one in of_project(session, project.id)}
    before = _described(known.values())
    for position, one in enumerate(wanted):
        row = known.pop(one.name, None)
        if row is None:
            row = Criterion(project_id=project.id, name=one.name)
            session.add(row)
        row.help, row.weight, row.is_active = one.help, one.weight, one.is_active
        row.position = position
    for left_out in known.values():
        if _is_named(session, left_out):
            left_out.is_active = False
        else:
            session.delete(left_out)
    session.flush()
    found = of_project(session, project.id)
    if _described(found) != before:
        audit.record(
            session,
            "criteria.arrange",
            project.slug,
            actor_id=actor_id,
            project_id=project.id,
            details={"criteria": [before, _described(found)]},
        )
    return found


def note(session: Session, project: Project, weights: Mapping[str, float]) -> None:
    """Keep criteria that come with a file's votes, out of use; those that are there stay."""
    known = {one.name for one in of_project(session, project.id)}
    position = len(known)
    for name in sorted(set(weights) - known):
        row = Criterion(project_id=project.id, name=name, weight=weights[name], is_active=False)
        row.position = position
        position += 1
        session.add(row)
    session.flush()


def ensure(session: Session, project: Project) -> None:
    """Give a project that rates a first criterion, if it has none in use."""
    if project.judgment_kind != JudgmentKind.RATE or active(session, project.id):
        return
    name, help_ = FIRST
    row = next((one for one in of_project(session, project.id) if one.name == name), None)
    if row is None:
        row = Criterion(project_id=project.id, name=name, help=help_)
        session.add(row)
    row.is_active, row.position = True, 0
    session.flush()


def _check(project: Project, wanted: Sequence[CriterionSettings]) -> None:
    if len(wanted) > MOST:
        raise Invalid(f"a project has at most {MOST} criteria, not {len(wanted)}")
    names: set[str] = set()
    for one in wanted:
        if not 1 <= len(one.name) <= NAME_LONGEST or "\0" in one.name + one.help:
            raise Invalid(f"a criterion's name has 1 to {NAME_LONGEST} characters: {one.name!r}")
        if one.name.casefold() in names:
            raise Invalid(f"criterion {one.name!r} is there twice")
        names.add(one.name.casefold())
        if len(one.help) > HELP_LONGEST:
            raise Invalid(
                f"a criterion's help has at most {HELP_LONGEST} characters, not {len(one.help)}"
            )
        if not (isfinite(one.weight) and 0 <= one.weight <= WEIGHT_MOST):
            raise Invalid(f"a weight is 0 to {WEIGHT_MOST:g}, not {one.weight}, of {one.name!r}")
    if project.judgment_kind == JudgmentKind.RATE:
        in_use = [one for one in wanted if one.is_active]
        if not any(one.weight > 0 for one in in_use):
            raise Invalid("labelers rate here: one criterion in use needs a weight above 0")


def _is_named(session: Session, criterion: Criterion) -> bool:
    given = session.scalars(
        select(Judgment.ratings)
        .where(Judgment.project_id == criterion.project_id, Judgment.kind == JudgmentKind.RATE)
        .execution_options(yield_per=1000)
    )
    return any(criterion.name in (ratings or {}) for ratings in given)


def _described(rows: Iterable[Criterion]) -> list[dict[str, str | float | bool]]:
    return [
        {"name": row.name, "help": row.help, "weight": row.weight, "is_active": row.is_active}
        for row in rows
    ]
