"""Loads the weights of checkpoints, with the models that they build on.

A checkpoint is a full model ("full"), or an adapter on one ("adapter", whose `over` names the full
model). All adapters of a project use the same full model, so that policy, value, reward and
reference share one base in memory.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.domain.chat_settings import ChatSettings
from app.domain.instruction_text import InstructionText
from app.domain.plan import Parallel, RoundPlan
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind
from app.services.checkpoints import checkpoints
from worker.rlhf.model import saving
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, POLICY, SFT, Roles
from worker.rlhf.reward.normalizer import Normalizer
from worker.runs.data import server_access
from worker.runs.data.sampled_completions import Answering
from worker.runs.data.server_access import ServedBase
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training import dividing, model_check, model_sources, screening
from worker.training.layout import ADAPTER, FULL


@dataclass(frozen=True, slots=True)
class Layers:
    """What a checkpoint builds on: the full model, and its SFT adapter if any."""

    whole: Checkpoint
    sft: Checkpoint | None

    @property
    def config(self) -> dict[str, Any]:
        """Return what a new adapter on the same model records in its row."""
        return {"layout": ADAPTER, "over": self.whole.id}


def layers(session: Session, checkpoint: Checkpoint) -> Layers:
    """Find the full model that a checkpoint builds on, and the SFT adapter between them."""
    sft: Checkpoint | None = None
    for row in [checkpoint, *checkpoints.ancestors(session, checkpoint)]:
        if is_whole(row):
            return Layers(row, sft)
        if row.kind == CheckpointKind.SFT and sft is None:
            sft = row
    raise Invalid(f"{checkpoint.name} is an adapter, and its base model is not recorded")


def is_whole(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is a model by itself."""
    return checkpoint.kind == CheckpointKind.BASE or checkpoint.config.get("layout") == FULL


def root_ids(session: Session, project_id: int) -> dict[int, int]:
    """Return the id of each checkpoint's full model; models of the same one share token ids."""
    roots: dict[int, int] = {}
    for row in checkpoints.of_project(session, project_id):
        chain = [row, *checkpoints.ancestors(session, row)]
        roots[row.id] = chain[-1].id  # a fully trained model keeps its base's tokenizer
    return roots


def load(
    context: JobContext,
    beneath: Layers,
    *,
    four_bit: bool = False,
    parallel: Parallel = Parallel.DATA,
    chat: ChatSettings | None = None,
) -> Roles:
    """Load the full model, and its SFT adapter if there is one; processes may divide the former."""
    path = source(context, beneath.whole)
    options = screening.options_of(chat)
    held = dividing.settle(context, context.team, parallel)
    loaded = model_sources.load(
        path, device=context.device, four_bit=four_bit, held=held, chat=options
    )
    describe_base(context, beneath.whole, loaded)
    roles = Roles(loaded, context.team)
    model_check.guard(roles, path)
    if beneath.sft is not None:
        saving.load_policy(roles, fetch(context, beneath.sft), SFT)
    return roles


def describe_base(context: JobContext, base: Checkpoint, loaded: LoadedModel) -> None:
    """Record with a base model what is known once it is loaded; trained models have it already."""
    found = {"ends": loaded.record["ends"]}  # how prompts are rendered is the project's choice
    is_new = base.kind == CheckpointKind.BASE and base.config.get("ends") != found["ends"]
    if is_new and context.is_first:
        with transactions.transaction(context) as session:
            checkpoints.describe(session, base.id, found)


def answering(
    context: JobContext,
    checkpoint: Checkpoint,
    instruction: InstructionText,
    *,
    four_bit: bool = False,
    chat: ChatSettings | None = None,
    server: ServedBase | None = None,
) -> Answering:
    """Load a model that generates, with the role to run it in; a server may sample it."""
    began = time.monotonic()
    with context.database.reader() as session:
        beneath = layers(session, checkpoint)
    roles = load(context, beneath, four_bit=four_bit, chat=chat)
    role = POLICY
    if is_whole(checkpoint):
        role = BASE
    elif checkpoint.kind == CheckpointKind.SFT:
        role = SFT
    else:
        saving.load_policy(roles, fetch(context, checkpoint), POLICY)
    load_s = time.monotonic() - began
    return Answering(
        checkpoint,
        roles,
        role,
        instruction,
        four_bit=four_bit,
        chat=chat,
        load_s=load_s,
        access=server_access.for_model(context, server, checkpoint, beneath.whole.id),
    )


def served_base(context: JobContext, plan: RoundPlan, policy: Checkpoint) -> ServedBase | None:
    """Return the plan's sampling server with the full model beneath a policy; None: no server."""
    if plan.sampling_server is None:
        return None
    with context.database.reader() as session:
        return ServedBase(plan.sampling_server, layers(session, policy).whole.id)


def fetch(context: JobContext, checkpoint: Checkpoint) -> Path:
    """Return a local folder with a trained checkpoint, verified."""
    return context.fetch(checkpoint.uri, checkpoint.sha256)


def add_reward(
    context: JobContext, roles: Roles, checkpoint: Checkpoint
) -> tuple[tuple[str, ...], Normalizer]:
    """Add a reward model's adapters and heads; return their names and the scale."""
    folder = fetch(context, checkpoint)
    names = tuple(checkpoint.config["names"])
    for name in names:
        saving.load_reward(roles, folder / name, name)
    normaliser: Mapping[str, Any] = checkpoint.config["normaliser"]
    return names, Normalizer.from_json(dict(normaliser))


def source(context: JobContext, checkpoint: Checkpoint) -> str:
    """Return what a full model is loaded from: a path or hub name, or a local folder.

    Raises:
        Invalid: it is a base model that the operator does not allow.
    """
    if checkpoint.kind == CheckpointKind.BASE:
        context.allowed_models.check(checkpoint.uri)
        return checkpoint.uri
    return str(fetch(context, checkpoint))
