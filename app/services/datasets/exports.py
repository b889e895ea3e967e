"""Exports: frozen, hashed data sets, written by a job, with a reason for everything left out.

Requesting an export inserts its row; the job writes the file and completes the row. The contents
are decided in `export_rows`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import bulk, now
from app.domain.id_set import IdSet
from app.domain.states import OVER_JOB_STATES, JobState
from app.errors import Conflict, Invalid, NotFound
from app.models import Checkpoint, Export, ExportAiJudgment, ExportedJudgments, Job, Project
from app.services.datasets import export_options, export_rows
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.jobs import jobs
from app.services.people import audit

QUEUED, READY, FAILED = "queued", "ready", "failed"
CANCELLED = "its job was cancelled"
UNSAID = "its job ended without giving a reason"


@dataclass(frozen=True, slots=True)
class Frozen:
    """A published export: its location, its hash, and the judgments in it."""

    uri: str
    filename: str
    sha256: str
    bytes: int
    rows: int
    manifest: Mapping[str, Any]
    summary: str  # what is in it and what is not, in one sentence
    judgments: IdSet
    ai_judgments: IdSet = field(default_factory=IdSet)


def create(
    session: Session,
    project: Project,
    *,
    format: str,
    options: ExportOptions,
    created_by_id: int | None,
) -> Export:
    """Request an export, which a job will write.

    Raises:
        Invalid: there is no such format, it cannot apply an option or be written in the container,
            or the export that this one continues has no data.
        NotFound: there is no such export to continue.
    """
    export_options.check(format, options)
    options = _resolved(session, project.id, options)
    stored = export_options.stored(format, options)
    row = _insert(session, project.id, format, stored, created_by_id)
    job = jobs.enqueue(
        session,
        kind="export",
        queue="cpu",
        payload={"export_id": row.id},
        project_id=project.id,
        natural_key=f"export-{row.id}",
        created_by_id=created_by_id,
    )
    row.job_id = job.id
    session.flush()
    audit.record(
        session,
        "export.create",
        f"export {row.number}",
        actor_id=created_by_id,
        project_id=project.id,
        details={"format": format, "options": row.options},
    )
    return row


def _resolved(session: Session, project_id: int, options: ExportOptions) -> ExportOptions:
    """Return the options with the moment of the earlier export that they name."""
    if options.since_export is None:
        return options
    earlier = get(session, project_id, options.since_export)
    if earlier.state != READY:
        raise Invalid(f"export {earlier.number} has no data yet; nothing can be exported since it")
    # Its data were read later, so what came in between is exported twice rather than not at all.
    return replace(options, since=earlier.created_at)


def freeze(
    session: Session,
    project_id: int,
    *,
    job_id: int,
    options: ExportOptions,
    frozen: Frozen,
) -> Export:
    """Record the data set that a training job has frozen for itself, one per job."""
    existing = of_job(session, job_id)
    if existing is not None:
        return existing
    format = export_rows.TRAINING
    row = _insert(session, project_id, format, export_options.stored(format, options), None)
    row.job_id = job_id
    finish(session, row, frozen)
    return row


def finish(session: Session, export: Export, frozen: Frozen) -> None:
    """Complete the row of an export whose file has been published.

    Raises:
        Invalid: the export is empty; an empty file is never offered.
        Conflict: the export was completed before.
    """
    if export.state == READY:
        raise Conflict(f"export {export.number} is complete and can no longer change")
    if not frozen.rows:
        raise Invalid(f"export {export.number} would be empty. {frozen.summary}")
    export.uri = f"{frozen.uri}/{frozen.filename}"
    export.sha256 = frozen.sha256
    export.bytes = frozen.bytes
    export.rows = frozen.rows
    export.manifest = dict(frozen.manifest)
    export.state = READY
    export.ready_at = now(session)
    session.flush()
    link(session, export, frozen.judgments)
    ai_rows = [(export.id, ai_id) for ai_id in frozen.ai_judgments]
    bulk.insert(session, ExportAiJudgment, ("export_id", "ai_judgment_id"), ai_rows)


def link(session: Session, export: Export, judgments: IdSet) -> None:
    """Record which judgments of people are in an export."""
    rows = [(export.id, number, members) for number, members in judgments.blocks()]
    bulk.insert(session, ExportedJudgments, ("export_id", "block", "members"), rows)


def judgments(session: Session, export_id: int) -> IdSet:
    """Return which judgments of people are in an export."""
    query = select(ExportedJudgments.block, ExportedJudgments.members)
    ids = IdSet()
    for number, members in session.execute(query.where(ExportedJudgments.export_id == export_id)):
        ids.merge(number, members)
    return ids


def get(session: Session, project_id: int, number: int) -> Export:
    """Return a project's export by its number.

    Raises:
        NotFound: there is none.
    """
    row = session.scalar(
        select(Export).where(Export.project_id == project_id, Export.number == number)
    )
    if row is None:
        raise NotFound(f"there is no export {number} in this project")
    return row


def of_project(session: Session, project_id: int) -> list[Export]:
    """Return the project's exports, newest first."""
    query = select(Export).where(Export.project_id == project_id)
    return list(session.scalars(query.order_by(Export.number.desc())))


def count_ready(session: Session, project_id: int) -> int:
    """Count the project's exports that can be downloaded."""
    query = select(func.count()).where(Export.project_id == project_id, Export.state == READY)
    return session.scalar(query) or 0


def of_job(session: Session, job_id: int) -> Export | None:
    """Return the export that a job has written, if any."""
    return session.scalar(select(Export).where(Export.job_id == job_id))


def state_of(session: Session, export: Export) -> tuple[str, str]:
    """Return an export's state, and why its job has failed; never an empty reason."""
    if export.state == READY or export.job_id is None:
        return export.state, ""
    job = session.get(Job, export.job_id)
    if job is None or job.state not in OVER_JOB_STATES:
        return export.state, ""
    if job.state == JobState.CANCELLED:
        return FAILED, CANCELLED
    return FAILED, job.error.strip() or UNSAID


def counts(export: Export) -> dict[str, dict[str, Any]]:
    """Return what was considered, exported and excluded, by unit; empty until it is written.

    Exports written before all of a project was considered are converted: they know only what they
    exported and what they excluded.
    """
    stored = export.manifest.get("counts", {})
    units: dict[str, dict[str, Any]] = {
        name: dict(unit)
        for name, unit in stored.items()
        if isinstance(unit, Mapping) and "considered" in unit
    }
    for name in ("comparisons", "judgments"):
        excluded = stored.get(f"{name}_out")
        if excluded is not None:
            exported = stored.get(name, 0)
            considered = exported + sum(excluded.values())
            units[name] = {"considered": considered, "exported": exported, "excluded": excluded}
    return units


def sources(session: Session, checkpoint_ids: Iterable[int]) -> list[str]:
    """Return the names of the checkpoints that generated an export's completions."""
    query = select(Checkpoint.name).where(Checkpoint.id.in_(sorted(set(checkpoint_ids))))
    return list(session.scalars(query.order_by(Checkpoint.id)))


def _insert(
    session: Session,
    project_id: int,
    format: str,
    options: Mapping[str, Any],
    created_by_id: int | None,
) -> Export:
    session.get(Project, project_id, with_for_update=True)  # serializes the choice of a number
    number = session.scalar(select(func.max(Export.number)).where(Export.project_id == project_id))
    row = Export(
        project_id=project_id,
        number=(number or 0) + 1,
        format=format,
        options=dict(options),
        manifest={},
        created_by_id=created_by_id,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row
