"""SFT on the project's demonstrations, which produces a checkpoint.

A starter model is built from the texts of the demonstrations and trained in full; for any other
model an adapter is trained, unless the plan says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from app.domain.gate_policies import Gate
from app.domain.gates.learning import LeftOutFigures
from app.domain.instruction_text import InstructionText
from app.domain.plan import STARTER, RoundPlan, SftPlan
from app.domain.states import RoundState
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Project, Round, Split
from app.services.checkpoints import checkpoints
from app.services.datasets import demonstrations
from app.services.project import prompts
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.core.step_report import Sample
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.runs import published
from worker.runs.data import checkpoint_weights, reward_reading
from worker.runs.gating import GateReadings
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.runs.published import TrainedModel
from worker.training import dividing, model_check, model_sources, screening, sft, token_ids
from worker.training.sft import SftInputs

HELDOUT_MOST = 200
SHOWN = 4


@dataclass(frozen=True, slots=True)
class PromptResponse:
    """A prompt with a response that a person wrote."""

    prompt_id: int
    messages: Sequence[Mapping[str, Any]]
    text: str


@dataclass(frozen=True, slots=True)
class SftTask:
    """The demonstrations, and the model to train."""

    round: Round
    project: Project
    plan: RoundPlan
    instruction: InstructionText
    sft: SftPlan
    base: Checkpoint | None  # None: a starter
    demonstrations: tuple[PromptResponse, ...]
    heldout: tuple[PromptResponse, ...]


def run(context: JobContext) -> None:
    """Train on the demonstrations and publish the model."""
    task = context.once(lambda: _task(context))
    reward_reading.check(context, task.project, task.plan.reward)
    loaded = replace(_loaded(context, task), chat=screening.options_of(task.plan.chat))
    roles = Roles(loaded, context.team)
    if task.base is not None:
        model_check.guard(roles, task.base.uri)
    task, remarks, refused = _screened(context, loaded, task)
    inputs = SftInputs(
        plan=task.sft,
        train=task.demonstrations,
        heldout=task.heldout,
        instruction=task.instruction.text,
        is_starter=task.base is None,
        checkpoints_gradients=task.plan.checkpoints_gradients,
        token_budget=task.plan.token_budget,
        seed=task.plan.seed,
    )
    result = sft.fit(context, roles, inputs)
    if result is None:
        return
    context.samples(result.end.step, _samples(roles, result.role, task))
    settings = {
        **result.settings,
        **roles.loaded.record,
        "base": task.project.base_model,
        "demonstrations": len(task.demonstrations),
    }
    model = TrainedModel(
        CheckpointKind.SFT,
        partial(result.save, roles),
        settings,
        result.metrics,
        task.instruction,
        parent_id=None if task.base is None else task.base.id,
        remarks=remarks,
        measured=GateReadings(task.plan, {Gate.LEFT_OUT: _left_out(task, refused, result.metrics)}),
    )
    published.publish(context, task.project, task.round, model)


def _left_out(task: SftTask, refused: int, metrics: Mapping[str, Any]) -> LeftOutFigures:
    limit = task.sft.max_tokens
    return LeftOutFigures(
        "demonstrations",
        RoundState.SFT,
        len(task.demonstrations) + refused,
        int(metrics["too_long"]),
        refused,
        "sft.max_tokens",
        limit,
        min(2 * limit, 1_000_000),
    )


def _screened(
    context: JobContext, loaded: LoadedModel, task: SftTask
) -> tuple[SftTask, list[str], int]:
    """Leave out the demonstrations that the chat template refuses; say which, why and how many."""
    train, heldout = (
        screening.screen(
            loaded,
            rows,
            task.instruction.text,
            what,
            lambda row: (f"prompt {row.prompt_id}", row.messages),
            is_needed=what == "demonstrations",
        )
        for what, rows in (
            ("demonstrations", task.demonstrations),
            ("held-out demonstrations", task.heldout),
        )
    )
    remarks = [*train.refusals.remarks, *heldout.refusals.remarks]
    for remark in remarks:
        context.say(f"{remark}.")
    kept = replace(task, demonstrations=tuple(train.kept), heldout=tuple(heldout.kept))
    return kept, remarks, len(train.refusals.reasons)


def _task(context: JobContext) -> SftTask:
    with transactions.transaction(context) as session:
        return _read(session, context)


def _read(session: Session, context: JobContext) -> SftTask:
    round_, project, plan = transactions.round_of(session, context)
    if plan.sft is None or project.base_model is None:
        raise Invalid(f"round {round_.number} has no SFT to do")
    is_starter = project.base_model == STARTER
    base = None if is_starter else checkpoints.register_base(session, project, project.base_model)
    return SftTask(
        round_,
        project,
        plan,
        transactions.instruction_of(session, context, project),
        plan.sft,
        base,
        tuple(_demonstrations(session, context, project.id, Split.TRAIN)),
        tuple(_demonstrations(session, context, project.id, Split.VALIDATION)[:HELDOUT_MOST]),
    )


def _demonstrations(
    session: Session, context: JobContext, project_id: int, split: Split
) -> list[PromptResponse]:
    # As they were when the job was created, so that an attempt that resumes sees the same rows.
    as_of = transactions.made_at(session, context)
    written = demonstrations.every(session, project_id, split, as_of=as_of)
    shown = [
        PromptResponse(demonstration.prompt.id, demonstration.prompt.messages, demonstration.text)
        for demonstration in written
    ]
    return sorted(shown, key=lambda demonstration: prompts.text_hash(demonstration.text))


def _loaded(context: JobContext, task: SftTask) -> LoadedModel:
    if task.base is not None:
        path = checkpoint_weights.source(context, task.base)
        loaded = model_sources.load(
            path,
            device=context.device,
            four_bit=task.plan.four_bit,
            in_full=bool(task.sft.is_full),
            held=dividing.settle(context, context.team, task.plan.parallel),
        )
        checkpoint_weights.describe_base(context, task.base, loaded)
        return loaded
    return sft.build_starter(
        task.sft.starter,
        task.demonstrations,
        task.instruction.text,
        seed=task.plan.seed,
        device=context.device,
    )


def _samples(roles: Roles, role: str, task: SftTask) -> list[Sample]:
    """Sample responses to a few held-out prompts, for people to read."""
    shown = (task.heldout or task.demonstrations)[:SHOWN]
    items = [
        PromptItem(str(n), token_ids.prompt_ids(roles.loaded, row.messages, task.instruction.text))
        for n, row in enumerate(shown)
    ]
    settings = task.plan.sampling
    fitting = token_ids.that_fit(items, roles, settings.max_new_tokens)
    config = SamplingConfig(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=task.plan.seed,
    )
    return [
        Sample(token_ids.readable(shown[int(sample.prompt_key)].messages), sample.text, None)
        for sample in sampling.generate(roles, fitting, config, role)
    ]
