"""Samples completions of several models on the same prompts, for people to compare."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.domain.chat_settings import ChatSettings
from app.domain.instruction_text import InstructionText
from app.domain.plan import Sampling
from app.models import Checkpoint, Project, Prompt, Split
from app.services.checkpoints import checkpoints
from app.services.rounds import prompt_selection
from worker.orders import Interrupted
from worker.runs.data import checkpoint_weights, sampled_completions
from worker.runs.data.sampled_completions import Draw
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training.screening import Refusals

SETTINGS = Sampling()
SEED = 0


@dataclass(frozen=True, slots=True)
class ResponseTask:
    """The models, and the prompts to sample completions for."""

    instruction: InstructionText
    models: tuple[Checkpoint, ...]
    prompts: tuple[Prompt, ...]
    chat: ChatSettings


def run(context: JobContext) -> None:
    """Sample one completion of each model for each prompt; existing ones are kept."""
    with context.database.reader() as session:
        task = _read(session, context)
    total, done = len(task.models) * len(task.prompts), 0
    refusals = Refusals("prompts")
    for model in task.models:
        answering = checkpoint_weights.answering(context, model, task.instruction, chat=task.chat)
        for rows in sampled_completions.draw(
            context, answering, task.prompts, Draw(SETTINGS, SEED, 1)
        ):
            done += len(rows)
            context.report(done, total, f"responses of {model.name}")
            order = context.should_stop()
            if order in {"cancel", "preempt"}:
                raise Interrupted(f"{context.title} was asked to stop")
        refusals.reasons.update(answering.refusals.reasons)
    context.succeed(lambda _session: {"completions": done, **refusals.result})


def _read(session: Session, context: JobContext) -> ResponseTask:
    payload = context.payload
    project = session.get_one(Project, context.project_id)
    models = [
        checkpoints.get(session, project.id, checkpoint_id)
        for checkpoint_id in payload["checkpoint_ids"]
    ]
    prompts = prompt_selection.first(
        session,
        project.id,
        Split(payload["split"]),
        payload["prompts"],
        as_of=transactions.made_at(session, context),
    )
    instruction = transactions.instruction_of(session, context, project)
    return ResponseTask(
        instruction, tuple(models), tuple(prompts), ChatSettings.from_json(project.chat)
    )
