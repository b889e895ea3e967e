"""Checkpoints and their lineage, from a model to its judgments and back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from sqlalchemy import func, literal, or_, select
from sqlalchemy.orm import Session

from app.db import bulk, now
from app.domain.id_set import BLOCK, ids_in
from app.domain.plan import STARTER
from app.errors import Conflict, Invalid, NotFound
from app.models import (
    Checkpoint,
    CheckpointInput,
    CheckpointKind,
    Export,
    ExportedJudgments,
    Judgment,
    Project,
)

LABELS = {
    CheckpointKind.BASE: "Base",
    CheckpointKind.SFT: "SFT",
    CheckpointKind.REWARD: "Reward",
    CheckpointKind.POLICY: "Policy",
}


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """The files a run has published, with their hash, configuration and metrics."""

    uri: str
    sha256: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lineage:
    """The ancestors, children and training data of a checkpoint.

    `ancestors` runs from its parent to the base. `judgments` counts the judgments in its exports,
    `guidelines_versions` and `instruction_versions` list the versions they were given under.
    """

    ancestors: tuple[Checkpoint, ...]
    children: tuple[Checkpoint, ...]
    exports: tuple[Export, ...]
    judgments: int
    labelers: int
    guidelines_versions: tuple[int, ...]
    instruction_versions: tuple[int, ...]


def register_base(session: Session, project: Project, uri: str) -> Checkpoint:
    """Register a base model by its path or hub name, once per project.

    Raises:
        Invalid: the name is empty.
    """
    if not uri.strip():
        raise Invalid("a base model needs a path or a hub name")
    existing = base_named(session, project.id, uri)
    if existing is not None:
        return existing
    row = Checkpoint(
        project_id=project.id,
        kind=CheckpointKind.BASE,
        name=_next_name(session, project.id, CheckpointKind.BASE),
        uri=uri,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def base_named(session: Session, project_id: int, uri: str) -> Checkpoint | None:
    """Return the project's base model with a path or hub name, if it is registered."""
    query = select(Checkpoint).where(
        Checkpoint.project_id == project_id,
        Checkpoint.kind == CheckpointKind.BASE,
        Checkpoint.uri == uri,
    )
    return session.scalar(query)


def create(
    session: Session,
    *,
    project_id: int,
    kind: CheckpointKind,
    written: CheckpointFiles,
    job_id: int | None = None,
    round_id: int | None = None,
    parent_id: int | None = None,
    export_ids: Sequence[int] = (),
) -> Checkpoint:
    """Record a trained model and its inputs; a job makes at most one of each kind."""
    if job_id is not None:
        made = of_job(session, job_id, kind)
        if made is not None:
            return made
    row = Checkpoint(
        project_id=project_id,
        kind=kind,
        name=_next_name(session, project_id, kind),
        parent_id=parent_id,
        round_id=round_id,
        job_id=job_id,
        uri=written.uri,
        sha256=written.sha256,
        config=_storable(written.config),
        metrics=_storable(written.metrics),
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    session.add_all(
        CheckpointInput(checkpoint_id=row.id, export_id=export_id) for export_id in export_ids
    )
    session.flush()
    return row


def describe(session: Session, checkpoint_id: int, known: Mapping[str, Any]) -> None:
    """Add to the configuration of a checkpoint what a worker found out when it loaded it."""
    row = session.get_one(Checkpoint, checkpoint_id, with_for_update=True, populate_existing=True)
    row.config = {**row.config, **_storable(known)}
    session.flush()


def get(session: Session, project_id: int, checkpoint_id: int) -> Checkpoint:
    """Return a checkpoint of the project.

    Raises:
        NotFound: there is none.
    """
    row = session.get(Checkpoint, checkpoint_id)
    if row is None or row.project_id != project_id:
        raise NotFound(f"there is no checkpoint {checkpoint_id} in this project")
    return row


def lock(session: Session, checkpoint: Checkpoint) -> None:
    """Lock a checkpoint until the transaction ends, so that what is done to it is done once."""
    session.flush()
    session.refresh(checkpoint, with_for_update=True)


def of_project(
    session: Session, project_id: int, kind: CheckpointKind | None = None
) -> list[Checkpoint]:
    """Return the project's checkpoints, newest first."""
    query = select(Checkpoint).where(Checkpoint.project_id == project_id)
    if kind is not None:
        query = query.where(Checkpoint.kind == kind)
    return list(session.scalars(query.order_by(Checkpoint.id.desc())))


def of_job(session: Session, job_id: int, kind: CheckpointKind) -> Checkpoint | None:
    """Return the checkpoint of a kind that a job has made, if any."""
    return session.scalar(
        select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.kind == kind)
    )


def current_policy(session: Session, project: Project) -> Checkpoint | None:
    """Return the current policy: the promoted one, else the SFT model, else the base model.

    The base model is the one that the project names, or the newest if it names none. A starter
    exists once it has been trained.
    """
    for checkpoint_id in (project.policy_checkpoint_id, project.sft_checkpoint_id):
        if checkpoint_id is not None:
            return get(session, project.id, checkpoint_id)
    if project.base_model == STARTER:
        return None
    if project.base_model:
        return base_named(session, project.id, project.base_model)
    return session.scalar(
        select(Checkpoint)
        .where(Checkpoint.project_id == project.id, Checkpoint.kind == CheckpointKind.BASE)
        .order_by(Checkpoint.id.desc())
        .limit(1)
    )


def ancestors(session: Session, checkpoint: Checkpoint) -> list[Checkpoint]:
    """Return the parents up to the base, nearest first."""
    parents: list[Checkpoint] = []
    seen = {checkpoint.id}
    parent_id = checkpoint.parent_id
    while parent_id is not None and parent_id not in seen:
        seen.add(parent_id)
        parent = get(session, checkpoint.project_id, parent_id)
        parents.append(parent)
        parent_id = parent.parent_id
    return parents


def initial_model(session: Session, policy: Checkpoint) -> Checkpoint | None:
    """Return the model that a policy's KL is measured to: the SFT model beneath it, or the base."""
    beneath = ancestors(session, policy)
    sft = [row for row in beneath if row.kind == CheckpointKind.SFT]
    base = [row for row in beneath if row.kind == CheckpointKind.BASE]
    return next(iter([*sft, *base]), None)


def lineage(session: Session, checkpoint: Checkpoint) -> Lineage:
    """Return a checkpoint's ancestors, its children and the judgments behind it."""
    children = session.scalars(
        select(Checkpoint).where(Checkpoint.parent_id == checkpoint.id).order_by(Checkpoint.id)
    )
    exports = session.scalars(
        select(Export)
        .join(CheckpointInput, CheckpointInput.export_id == Export.id)
        .where(CheckpointInput.checkpoint_id == checkpoint.id)
        .order_by(Export.id)
    )
    labelers, guidelines, instructions = _distinct(session, checkpoint)
    return Lineage(
        tuple(ancestors(session, checkpoint)),
        tuple(children),
        tuple(exports),
        sum(1 for _id in _judgment_ids(session, checkpoint.id)),
        len(labelers),
        guidelines,
        instructions,
    )


def _distinct(session: Session, checkpoint: Checkpoint) -> list[tuple[int, ...]]:
    """Return whose judgments it was trained on, and the versions they were given under."""
    columns = (Judgment.labeler_id, Judgment.guidelines_version, Judgment.instruction_version)
    query = (
        select(*columns)
        .join(ExportedJudgments, ExportedJudgments.include(Judgment.id))
        .join(CheckpointInput, CheckpointInput.export_id == ExportedJudgments.export_id)
        .where(CheckpointInput.checkpoint_id == checkpoint.id)
        .distinct()
    )
    rows = session.execute(query).all()
    return [tuple(sorted({row[at] for row in rows})) for at in range(len(columns))]


def judgments(
    session: Session, checkpoint_id: int, *, after: int = 0, limit: int = 200
) -> list[Judgment]:
    """Return the judgments a checkpoint was trained on, a page at a time by id."""
    # Every block but the first has an id after it, and each export a block of that number.
    blocks = (limit + 1) * len(input_ids(session, checkpoint_id))
    later = _judgment_ids(session, checkpoint_id, after=after, blocks=blocks)
    ids = list(islice(later, limit))
    query = select(Judgment).where(bulk.among(session, Judgment.id, ids)).order_by(Judgment.id)
    return list(session.scalars(query))


def trained_on(session: Session, judgment_id: int) -> list[Checkpoint]:
    """Return every model trained on a judgment, oldest first."""
    query = (
        select(Checkpoint)
        .join(CheckpointInput, CheckpointInput.checkpoint_id == Checkpoint.id)
        .join(ExportedJudgments, ExportedJudgments.export_id == CheckpointInput.export_id)
        .where(ExportedJudgments.include(literal(judgment_id)))
        .distinct()
        .order_by(Checkpoint.id)
    )
    return list(session.scalars(query))


def input_ids(session: Session, checkpoint_id: int) -> list[int]:
    """Return the exports a checkpoint was trained on."""
    query = select(CheckpointInput.export_id).where(CheckpointInput.checkpoint_id == checkpoint_id)
    return list(session.scalars(query.order_by(CheckpointInput.export_id)))


def retire(session: Session, checkpoint: Checkpoint) -> None:
    """Mark a model as retired; its row and lineage remain.

    Raises:
        Conflict: the project uses it.
    """
    in_use = session.scalar(
        select(Project.id).where(
            or_(
                Project.policy_checkpoint_id == checkpoint.id,
                Project.sft_checkpoint_id == checkpoint.id,
            )
        )
    )
    if in_use is not None:
        raise Conflict(f"{checkpoint.name} is in use and cannot be retired")
    checkpoint.state = "retired"
    session.flush()


def _storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as JSON can store them; those that are not finite become null."""
    text = json.dumps(values, default=str)
    stored: dict[str, Any] = json.loads(text, parse_constant=lambda _name: None)
    return stored


def _judgment_ids(
    session: Session, checkpoint_id: int, *, after: int = 0, blocks: int | None = None
) -> Iterator[int]:
    """Yield the ids of the judgments in a checkpoint's exports, each once, in ascending order.

    With `blocks`, at most that many are read.
    """
    query = (
        select(ExportedJudgments.block, ExportedJudgments.members)
        .join(CheckpointInput, CheckpointInput.export_id == ExportedJudgments.export_id)
        .where(
            CheckpointInput.checkpoint_id == checkpoint_id,
            ExportedJudgments.block >= after // BLOCK,
        )
        .order_by(ExportedJudgments.block)
        .limit(blocks)
    )
    for _number, rows in groupby(session.execute(query), key=itemgetter(0)):
        for id in sorted({id for row in rows for id in ids_in(*row)}):
            if id > after:
                yield id


def _next_name(session: Session, project_id: int, kind: CheckpointKind) -> str:
    count = session.scalar(
        select(func.count()).where(Checkpoint.project_id == project_id, Checkpoint.kind == kind)
    )
    return f"{LABELS[kind]} {(count or 0) + 1}"
