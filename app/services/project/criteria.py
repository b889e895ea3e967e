"""Criteria: what a project's labelers rate completions on, in order.

Judgments refer to a criterion by its name, so one that has been rated on is never deleted or
renamed, only deactivated. Its weight still applies to the ratings it has; a weight of 0 leaves
them out of the mean, and a negative one makes a high rating a reason against a completion.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import KINDS, RATED_KINDS
from app.errors import Invalid
from app.models import Assignment, Criterion, Judgment, Project
from app.services.people import audit

NAME_LONGEST, HELP_LONGEST = 60, 1000
MOST = 12
LOWEST = 1
"""The lowest rating of a labeler."""
IMPORTED = "import"
"""The lease token of assignments from files."""
WEIGHT_MOST = 1000.0
FIRST = ("quality", "How good the response is as a whole.")


Scale = tuple[int, int]


@dataclass(frozen=True, slots=True)
class CriterionSettings:
    """A criterion as a lead sets it."""

    name: str
    help: str = ""
    weight: float = 1.0
    is_active: bool = True


def of_project(session: Session, project_id: int) -> list[Criterion]:
    """Return every criterion in order, active ones first."""
    query = (
        select(Criterion)
        .where(Criterion.project_id == project_id)
        .order_by(Criterion.is_active.desc(), Criterion.position, Criterion.id)
    )
    return list(session.scalars(query))


def active(session: Session, project_id: int) -> list[Criterion]:
    """Return the active criteria in order."""
    return [one for one in of_project(session, project_id) if one.is_active]


def weights(session: Session, project_id: int) -> dict[str, float]:
    """Return every criterion's weight by its name."""
    return {one.name: one.weight for one in of_project(session, project_id)}


def arrange(
    session: Session, project: Project, wanted: Sequence[CriterionSettings], *, actor_id: int | None
) -> list[Criterion]:
    """Make these the project's criteria, in this order; return all there are.

    One that is left out is deleted, or only deactivated if a judgment refers to it.

    Raises:
        Invalid: a name is empty, too long or repeated, a weight is out of range, or a project
            that rates would have no criterion to rate on.
    """
    wanted = [replace(entry, name=entry.name.strip(), help=entry.help.strip()) for entry in wanted]
    _check(project, wanted)
    # Lists that are arranged at the same moment would otherwise be mixed.
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update())
    known = {entry.name: entry for entry in of_project(session, project.id)}
    before = _described(known.values())
    for position, entry in enumerate(wanted):
        row = known.pop(entry.name, None)
        if row is None:
            row = Criterion(project_id=project.id, name=entry.name)
            session.add(row)
        _check_scale(project, row, entry)
        row.help, row.weight, row.is_active = entry.help, entry.weight, entry.is_active
        row.position = position
    for left_out in known.values():
        if _is_named(session, left_out):
            left_out.is_active = False
        else:
            session.delete(left_out)
    session.flush()
    arranged = of_project(session, project.id)
    if _described(arranged) != before:
        audit.record(
            session,
            "criteria.arrange",
            project.slug,
            actor_id=actor_id,
            project_id=project.id,
            details={"criteria": [before, _described(arranged)]},
        )
    return arranged


def note(
    session: Session, project: Project, rated: Mapping[tuple[str, Scale | None], float]
) -> dict[tuple[str, Scale | None], str]:
    """Add criteria that only a file's votes name, inactive; existing ones stay as they are.

    `rated` has their weights by name and scale; a scale of None is the project's own. Ratings on
    different scales are never ratings on one criterion: returned are the names to store them under.
    """
    known = {one.name: one for one in of_project(session, project.id)}
    names: dict[tuple[str, Scale | None], str] = {}
    for (name, scale), weight in sorted(rated.items(), key=lambda item: (item[0][0], str(item))):
        stored = _name_on_scale(session, project, known, name, scale)
        names[name, scale] = stored
        if stored not in known:
            row = Criterion(project_id=project.id, name=stored, weight=weight, is_active=False)
            row.position = len(known)
            row.scale = None if scale is None else list(scale)
            known[stored] = row
            session.add(row)
    session.flush()
    return names


def scale_of(project: Project, criterion: Criterion) -> Scale:
    """Return the lowest and the highest rating on a criterion."""
    low, high = criterion.scale or (LOWEST, project.rating_max)
    return low, high


def _name_on_scale(
    session: Session,
    project: Project,
    known: Mapping[str, Criterion],
    name: str,
    scale: Scale | None,
) -> str:
    row = known.get(name)
    if row is None or scale is None or scale_of(project, row) == scale:
        return name
    if row.scale is None and not row.is_active and not _is_rated_here(session, project):
        row.scale = list(scale)  # of an import before scales were kept
        return name
    ending = f" ({scale[0]}–{scale[1]})"
    return name[: NAME_LONGEST - len(ending)] + ending


def _is_rated_here(session: Session, project: Project) -> bool:
    """Return whether anybody who can sign in has rated in this project."""
    rated = exists().where(
        Judgment.project_id == project.id,
        Judgment.kind.in_(RATED_KINDS),
        Judgment.assignment_id == Assignment.id,
        Assignment.lease_token != IMPORTED,
    )
    return bool(session.scalar(select(rated)))


def ensure(session: Session, project: Project) -> None:
    """Give a project that rates a first criterion if it has no active one."""
    if not KINDS[project.judgment_kind].uses_criteria or active(session, project.id):
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
    for entry in wanted:
        if not 1 <= len(entry.name) <= NAME_LONGEST or "\0" in entry.name + entry.help:
            raise Invalid(f"a criterion's name has 1 to {NAME_LONGEST} characters: {entry.name!r}")
        if entry.name.casefold() in names:
            raise Invalid(f"criterion {entry.name!r} appears twice")
        names.add(entry.name.casefold())
        if len(entry.help) > HELP_LONGEST:
            raise Invalid(
                f"a criterion's help has at most {HELP_LONGEST} characters, not {len(entry.help)}"
            )
        if not (isfinite(entry.weight) and abs(entry.weight) <= WEIGHT_MOST):
            raise Invalid(
                f"the weight of {entry.name!r} must be -{WEIGHT_MOST:g} to {WEIGHT_MOST:g}, "
                f"not {entry.weight}"
            )
    if KINDS[project.judgment_kind].uses_criteria:
        in_use = [entry for entry in wanted if entry.is_active]
        if not any(entry.weight for entry in in_use):
            raise Invalid(
                "this project rates: at least one active criterion needs a weight other than 0"
            )


def _check_scale(project: Project, row: Criterion, wanted: CriterionSettings) -> None:
    """Refuse to let labelers rate on a criterion that a file has rated on another scale."""
    low, high = scale_of(project, row)
    if wanted.is_active and (low, high) != (LOWEST, project.rating_max):
        raise Invalid(
            f"criterion {row.name!r} has ratings from {low} to {high} of an imported file, and "
            f"labelers rate from {LOWEST} to {project.rating_max}: give theirs another name"
        )


def _is_named(session: Session, criterion: Criterion) -> bool:
    all_ratings = session.scalars(
        select(Judgment.ratings)
        .where(Judgment.project_id == criterion.project_id, Judgment.kind.in_(RATED_KINDS))
        .execution_options(yield_per=1000)
    )
    return any(criterion.name in (ratings or {}) for ratings in all_ratings)


def _described(rows: Iterable[Criterion]) -> list[dict[str, str | float | bool]]:
    return [
        {"name": row.name, "help": row.help, "weight": row.weight, "is_active": row.is_active}
        for row in rows
    ]
