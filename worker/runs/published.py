"""Publishes the model of a training job, and ends the job with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.domain.instruction_text import InstructionText
from app.domain.plan import RoundPlan
from app.models import Checkpoint, CheckpointKind, Project, Round
from app.services.checkpoints import checkpoints
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.services.rounds import rounds
from worker.runs import gating
from worker.runs.gating import GateReadings
from worker.runs.process import process_memory
from worker.runs.process.job_context import JobContext
from worker.training import model_card
from worker.training.model_card import ModelCard

_TITLES: Mapping[CheckpointKind, str] = {
    CheckpointKind.SFT: "SFT",
    CheckpointKind.REWARD: "Reward model",
    CheckpointKind.POLICY: "Policy",
}


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model that a job of a round has trained.

    Attributes:
        kind: of the checkpoint.
        write: writes the weights into a folder.
        settings: recorded with the checkpoint.
        metrics: recorded with the checkpoint.
        instruction: the version that was added to every prompt.
        parent_id: the checkpoint that it was trained from.
        parents: the models used to train it.
        data: the frozen export, for the card.
        export_ids: the exports whose judgments it was trained on.
        remarks: sentences for the job's result, shown on the round's page.
        card_remarks: further lines of the card.
        measured: what the round's gates go by.
    """

    kind: CheckpointKind
    write: Callable[[Path], object]
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]
    instruction: InstructionText
    parent_id: int | None = None
    parents: Sequence[Checkpoint] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    export_ids: Sequence[int] = ()
    remarks: Sequence[str] = ()
    card_remarks: Sequence[str] = ()
    measured: GateReadings | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The settings, with the instruction."""
        under = {
            "instruction": self.instruction.text,
            "instruction_version": self.instruction.version,
        }
        return {**self.settings, **under}

    @property
    def facts(self) -> list[str]:
        """The lines of the card on the instruction."""
        text = self.instruction.text or "none"
        return [f"Instruction, version {self.instruction.version}: {text}", *self.card_remarks]


def _chosen(round_: Round) -> list[str]:
    """Return the line of the card on the choice that the round was launched with, if any."""
    choice = RoundPlan.from_json(round_.plan).choice
    return [] if choice is None else [f"Plan of the round: {choice.words}"]


def publish(context: JobContext, project: Project, round_: Round, model: TrainedModel) -> None:
    """Write the model and its card, and succeed with a checkpoint of the round."""
    folder = context.workdir / "checkpoint"
    title = _TITLES[model.kind]
    with context.database.reader() as session:
        passed = gating.card_lines(session, round_)
    failed = model.measured.failed if model.measured is not None else []
    card = ModelCard(
        title,
        f"{title} of round {round_.number}, {project.name}",
        model.config,
        model.metrics,
        parents={row.name: row.sha256 for row in model.parents},
        data=model.data,
        origin={"project": project.name, "round": round_.number},
        facts=[*model.facts, *_chosen(round_), *passed, *failed],
    )
    model_card.fill(context, folder, card, model.write)
    published = context.publish(folder, model.kind.value)

    def finish(session: Session) -> Mapping[str, Any]:
        row = checkpoints.create(
            session,
            project_id=project.id,
            kind=model.kind,
            written=CheckpointFiles(published.uri, published.sha256, model.config, model.metrics),
            job_id=context.job_id,
            round_id=round_.id,
            parent_id=model.parent_id,
            export_ids=model.export_ids,
        )
        rounds.attach(session, round_.id, row)
        remarks = {"remarks": list(model.remarks)} if model.remarks else {}
        figures = model.measured.result if model.measured is not None else {}
        return {
            "checkpoint_id": row.id,
            "stop_reason": model.metrics["stop_reason"],
            "peak_bytes": process_memory.peak_bytes(context.device),
            **remarks,
            **figures,
        }

    context.succeed(finish)
