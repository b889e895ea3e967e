"""Curves of a job, thinned out for the live page."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.models import Metric, TrainingSample

MOST_POINTS = 400

Points = tuple[tuple[float, float], ...]


def interval(session: Session, job_id: int) -> int:
    """Return each how many steps `of_job` reads a point, so that a long curve has about 400."""
    last = session.scalar(select(func.max(Metric.step)).where(Metric.job_id == job_id))
    return max((last or 0) // MOST_POINTS, 1)


def of_job(session: Session, job_id: int, names: Sequence[str]) -> dict[str, Points]:
    """Return the points of the named curves; of long ones every n-th step and the latest steps."""
    last = session.scalar(select(func.max(Metric.step)).where(Metric.job_id == job_id))
    if last is None:
        return {}
    every = max(last // MOST_POINTS, 1)
    return _read(session, job_id, names, (Metric.step % every == 0) | (Metric.step >= last - every))


def whole(session: Session, job_id: int, names: Sequence[str]) -> dict[str, Points]:
    """Return the points of the named curves at every step."""
    return _read(session, job_id, names)


def _read(
    session: Session, job_id: int, names: Sequence[str], *conditions: ColumnElement[bool]
) -> dict[str, Points]:
    query = (
        select(Metric.name, Metric.step, Metric.value)
        .where(Metric.job_id == job_id, Metric.name.in_(names), *conditions)
        .order_by(Metric.name, Metric.step)
    )
    curves: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, step, value in session.execute(query):
        curves[name].append((float(step), value))
    return {name: tuple(points) for name, points in curves.items()}


def newest(session: Session, job_id: int) -> dict[str, float]:
    """Return the latest value of every curve of a job, by name."""
    last = (
        select(Metric.name, func.max(Metric.step).label("step"))
        .where(Metric.job_id == job_id)
        .group_by(Metric.name)
        .subquery()
    )
    query = (
        select(Metric.name, Metric.value)
        .join(last, (last.c.name == Metric.name) & (last.c.step == Metric.step))
        .where(Metric.job_id == job_id)
        .order_by(Metric.name)
    )
    return {row.name: row.value for row in session.execute(query)}


def before_and_now(
    session: Session, job_id: int, *, limit: int = 3
) -> list[tuple[TrainingSample, TrainingSample]]:
    """Return samples of the same prompts at the first and at the latest step."""
    first, last = session.execute(
        select(func.min(TrainingSample.step), func.max(TrainingSample.step)).where(
            TrainingSample.job_id == job_id
        )
    ).one()
    if first is None or first == last:
        return []
    query = select(TrainingSample).where(
        TrainingSample.job_id == job_id, TrainingSample.step.in_((first, last))
    )
    by_place: defaultdict[int, dict[int, TrainingSample]] = defaultdict(dict)
    for sample in session.scalars(query.order_by(TrainingSample.n)):
        by_place[sample.n][sample.step] = sample
    pairs = [
        (found[first], found[last])
        for found in by_place.values()
        if first in found and last in found and found[first].prompt == found[last].prompt
    ]
    return pairs[:limit]
