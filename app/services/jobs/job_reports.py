"""What a running job reports: points of curves, and completions for people to read.

Written under the job's lease, like everything that a worker writes.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.models import Metric, TrainingSample
from app.services.jobs.job_leases import hold, storable


@dataclass(frozen=True, slots=True)
class Scalar:
    """One point of a curve."""

    step: int
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class StepSample:
    """A sampled completion for people to read; `n` counts within the step.

    `parts` are the scores of a combined reward's parts, by name.
    """

    step: int
    n: int
    prompt: str
    completion: str
    score: float | None
    parts: Mapping[str, float] = field(default_factory=dict)


def record_metrics(session: Session, job_id: int, lease_token: int, rows: Iterable[Scalar]) -> None:
    """Store points of curves; a step that is repeated after a resume replaces its points.

    Values that are not finite are left out, because SQLite cannot store them.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    hold(session, job_id, lease_token)
    values = [
        {"job_id": job_id, "name": row.name[:60], "step": row.step, "value": row.value}
        for row in rows
        if math.isfinite(row.value)
    ]
    _upsert(session, Metric, values, ("job_id", "name", "step"))


def record_samples(
    session: Session, job_id: int, lease_token: int, rows: Iterable[StepSample]
) -> None:
    """Store sampled completions; a repeated step replaces its own.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    hold(session, job_id, lease_token)
    values = [
        {
            "job_id": job_id,
            "step": row.step,
            "n": row.n,
            "prompt": storable(row.prompt),
            "completion": storable(row.completion),
            "score": row.score if row.score is None or math.isfinite(row.score) else None,
            "parts": {name: part for name, part in row.parts.items() if math.isfinite(part)},
        }
        for row in rows
    ]
    _upsert(session, TrainingSample, values, ("job_id", "step", "n"))


def _upsert(
    session: Session,
    table: type[Metric] | type[TrainingSample],
    values: list[dict[str, Any]],
    key: tuple[str, ...],
) -> None:
    """Insert rows, replacing those with the same key."""
    if not values:
        return
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    changes = {name: statement.excluded[name] for name in values[0] if name not in key}
    session.execute(statement.on_conflict_do_update(index_elements=key, set_=changes), values)
