"""Imitation of the project's demonstrations: rows in, a checkpoint out.

A starter model is built here from the demonstrations' own texts and trained as a whole; any other
model gets an adapter unless the plan says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.domain.plan import STARTER, RoundPlan, SftPlan, Starter
from app.errors import Invalid
from app.models import (
    Checkpoint,
    CheckpointKind,
    Project,
    Round,
    Split,
)
from app.services.checkpoints import checkpoints
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.services.datasets import demonstrations
from app.services.project import prompts
from app.services.rounds import rounds
from worker.rlhf.core import examples
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.core.step_report import Sample
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models, saving, starter, template
from worker.rlhf.model.roles import BASE, SFT, LoraSettings, Roles
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import finetuning as imitation
from worker.rlhf.sft.finetuning import SftConfig
from worker.runs import cards, following, held, texts, weights
from worker.runs.context import JobContext

STARTER_RATE, FULL_RATE, LORA_RATE = 1e-3, 2e-5, 2e-4
HELDOUT_MOST = 200
SHOWN = 4


@dataclass(frozen=True, slots=True)
class Shown:
    """A prompt and, where there is one, a person's answer to it."""

    messages: Sequence[Mapping[str, Any]]
    text: str


@dataclass(frozen=True, slots=True)
class Task:
    """What to imitate, and from which model."""

    round: Round
    project: Project
    plan: RoundPlan
    sft: SftPlan
    base: Checkpoint | None  # None: a starter
    demonstrations: tuple[Shown, ...]
    heldout: tuple[Shown, ...]

    @property
    def is_full(self) -> bool:
        """Whether all weights are trained."""
        return self.base is None or bool(self.sft.is_full)


def run(context: JobContext) -> None:
    """Train on the demonstrations and publish the model."""
    task = context.once(lambda: _task(context))
    roles = Roles(_loaded(context, task), context.team)
    config = config_of(task.sft, is_starter=task.base is None, seed=task.plan.seed)
    encode = partial(
        encoded, roles, instruction=task.project.instruction, max_tokens=task.sft.max_tokens
    )
    examples, too_long = encode(task.demonstrations)
    heldout, _ = encode(task.heldout)
    if not examples:
        raise Invalid(f"all {too_long} demonstrations are longer than {task.sft.max_tokens} tokens")
    if task.plan.checkpoints_gradients:
        if not task.is_full:  # PEFT would have a base that checkpoints already want gradients
            roles.add_adapter(SFT, config.lora, seed=config.seed)
        roles.checkpoint_gradients(True)
    state = TrainingState()
    following.restore(context, state)
    loop = imitation.train(roles, examples, config, state)
    ended = following.follow(context, loop, state, note="imitating demonstrations")
    if not context.goes_on():
        return
    role = BASE if task.is_full else SFT
    metrics: dict[str, Any] = {
        **ended.metrics,
        "steps": ended.step,
        "stop_reason": ended.reason,
        "too_long": too_long,
    }
    if heldout:
        metrics["heldout/loss"] = imitation.evaluate(roles, role, heldout, config)
        context.metrics(ended.step, {"heldout/loss": metrics["heldout/loss"]})
    context.samples(ended.step, _samples(roles, role, task))
    _publish(context, task, roles, config, metrics)


def config_of(plan: SftPlan, *, is_starter: bool, seed: int) -> SftConfig:
    """Return the loop's settings; a starter is always trained as a whole."""
    is_full = is_starter or bool(plan.is_full)
    rate = STARTER_RATE if is_starter else FULL_RATE if is_full else LORA_RATE
    return SftConfig(
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate or rate,
        max_steps=plan.max_steps,
        full=is_full,
        lora=LoraSettings(plan.lora.r, plan.lora.alpha),
        seed=seed,
    )


def _task(context: JobContext) -> Task:
    with held.transaction(context) as session:
        return _read(session, context)


def _read(session: Session, context: JobContext) -> Task:
    round_, project, plan = held.round_of(session, context)
    if plan.sft is None or project.base_model is None:
        raise Invalid(f"round {round_.number} has no SFT to do")
    is_starter = project.base_model == STARTER
    base = None if is_starter else checkpoints.register_base(session, project, project.base_model)
    return Task(
        round_,
        project,
        plan,
        plan.sft,
        base,
        tuple(_demonstrations(session, context, project.id, Split.TRAIN)),
        tuple(_demonstrations(session, context, project.id, Split.VALIDATION)[:HELDOUT_MOST]),
    )


def _demonstrations(
    session: Session, context: JobContext, project_id: int, split: Split
) -> list[Shown]:
    # As they were when the job was made: an attempt that resumes sees the very same.
    as_of = held.made_at(session, context)
    found = demonstrations.every(session, project_id, split, as_of=as_of)
    shown = [Shown(one.prompt.messages, one.text) for one in found]
    return sorted(shown, key=lambda one: prompts.text_hash(one.text))


def _loaded(context: JobContext, task: Task) -> models.LoadedModel:
    if task.base is not None:
        return models.load(task.base.uri, device=context.device, four_bit=task.plan.four_bit)
    made = built(
        task.sft.starter, task.demonstrations, task.project.instruction, seed=task.plan.seed
    )
    made.model.to(context.device)  # type: ignore[arg-type]
    return made


def built(
    wanted: Starter, shown: Sequence[Shown], instruction: str, *, seed: int
) -> models.LoadedModel:
    """Build a starter model for the words of the demonstrations."""
    said = [instruction]
    for one in shown:
        said += [turn["content"] for turn in one.messages]
        said.append(one.text)
    return starter.build(
        said,
        vocab_size=wanted.vocabulary,
        width=wanted.width,
        layers=wanted.layers,
        heads=wanted.heads,
        seed=seed,
    )


def encoded(
    roles: Roles, shown: Sequence[Shown], *, instruction: str, max_tokens: int
) -> tuple[list[examples.Demonstration], int]:
    """Return the demonstrations that fit, and how many do not."""
    tokenizer = roles.loaded.tokenizer
    limit = min(max_tokens, models.context_tokens(roles.causal) or max_tokens)
    found = []
    for one in shown:
        prompt = texts.prompt_ids(tokenizer, one.messages, instruction)
        response = tuple(template.encode_response(tokenizer, one.text, finished=True))
        if len(prompt) + len(response) <= limit:
            found.append(examples.Demonstration(prompt, response))
    return found, len(shown) - len(found)


def _samples(roles: Roles, role: str, task: Task) -> list[Sample]:
    """Answer a few held-out prompts, for people to read."""
    shown = (task.heldout or task.demonstrations)[:SHOWN]
    tokenizer = roles.loaded.tokenizer
    items = [
        PromptItem(str(n), texts.prompt_ids(tokenizer, one.messages, task.project.instruction))
        for n, one in enumerate(shown)
    ]
    settings = task.plan.sampling
    fitting = texts.that_fit(items, roles, settings.max_new_tokens)
    config = SamplingConfig(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=task.plan.seed,
    )
    return [
        Sample(str(shown[int(one.prompt_key)].messages[-1]["content"]), one.text, None)
        for one in sampling.generate(roles, fitting, config, role)
    ]


def _publish(
    context: JobContext, task: Task, roles: Roles, config: SftConfig, metrics: Mapping[str, Any]
) -> None:
    folder = context.workdir / "checkpoint"

    def write(aside: Path) -> None:
        if task.is_full:
            saving.save_full(roles.loaded, aside)
        else:
            saving.save_policy(roles, aside, role=SFT)

    settings = {
        "layout": weights.FULL if task.is_full else weights.ADAPTER,
        "base": task.project.base_model,
        "demonstrations": len(task.demonstrations),
        "training": config.to_json(),
    }
    card = cards.Card("SFT", task.project.name, task.round.number, settings, metrics)
    cards.fill(context, folder, card, write)
    published = context.publish(folder, "sft")

    def finish(session: Session) -> Mapping[str, Any]:
        row = checkpoints.create(
            session,
            project_id=task.project.id,
            kind=CheckpointKind.SFT,
            written=CheckpointFiles(published.uri, published.sha256, settings, metrics),
            job_id=context.job_id,
            round_id=task.round.id,
            parent_id=None if task.base is None else task.base.id,
        )
        rounds.attach(session, task.round.id, row)
        return {"checkpoint_id": row.id, "stop_reason": metrics["stop_reason"]}

    context.succeed(finish)
