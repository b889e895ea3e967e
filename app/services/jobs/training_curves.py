"""Curves of a job, thinned out for the live page."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.models import Metric, TrainingSample

MOST_POINTS = 400

Points = tuple[tuple[float, float], ...]


def interval(session: Session, job_id: int, names: Sequence[str]) -> int:
    """Return of how many points of the longest named curve `of_job` returns one."""
    counts = (
        select(func.count().label("points"))
        .where(Metric.job_id == job_id, Metric.name.in_(names))
        .group_by(Metric.name)
        .subquery()
    )
    longest = session.scalar(select(func.max(counts.c.points))) or 1
    return (longest - 1) // MOST_POINTS + 1


def of_job(session: Session, job_id: int, names: Sequence[str]) -> dict[str, Points]:
    """Return the points of the named curves: of long ones every n-th, and the latest n.

    Each curve is thinned out by itself: one that has a point every ten steps keeps its own.
    """
    numbered = (
        select(
            Metric.name,
            Metric.step,
            Metric.value,
            (func.row_number().over(partition_by=Metric.name, order_by=Metric.step) - 1).label(
                "place"
            ),
            func.count().over(partition_by=Metric.name).label("points"),
        )
        .where(Metric.job_id == job_id, Metric.name.in_(names))
        .subquery()
    )
    every = (numbered.c.points - 1) // MOST_POINTS + 1
    is_kept = (numbered.c.place % every == 0) | (numbered.c.place >= numbered.c.points - every)
    columns = (numbered.c.name, numbered.c.step, numbered.c.value)
    query = select(*columns).where(is_kept).order_by(numbered.c.name, numbered.c.step)
    return _curves(session, query)


def whole(session: Session, job_id: int, names: Sequence[str]) -> dict[str, Points]:
    """Return the points of the named curves at every step."""
    return _curves(
        session,
        select(Metric.name, Metric.step, Metric.value)
        .where(Metric.job_id == job_id, Metric.name.in_(names))
        .order_by(Metric.name, Metric.step),
    )


def _curves(session: Session, query: Select[str, int, float]) -> dict[str, Points]:
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
