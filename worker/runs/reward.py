"""The reward model of a round: freeze the judgments, fit the model, compare it with people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.domain.instruction_text import InstructionText
from app.domain.plan import RoundPlan
from app.errors import Invalid
from app.formats.training_rows import FrozenRow
from app.models import Checkpoint, CheckpointKind, Project, Prompt, Round, Split
from app.services.checkpoints import checkpoints
from app.services.rounds import prompt_selection
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import reasoning
from worker.runs import published
from worker.runs.data import (
    checkpoint_weights,
    frozen_dataset,
    reward_reading,
    sampled_completions,
)
from worker.runs.data.checkpoint_weights import Layers
from worker.runs.data.frozen_dataset import FrozenData
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.runs.published import TrainedModel
from worker.training import conversations, reward, reward_figures, reward_parts, screening
from worker.training.layout import HELDOUT_SCORES
from worker.training.reward import RewardInputs
from worker.training.vote_weights import VoteWeights


@dataclass(frozen=True, slots=True)
class RewardTask:
    """The round, and the model that the reward model is trained from."""

    round: Round
    project: Project
    plan: RoundPlan
    instruction: InstructionText
    start: Checkpoint
    beneath: Layers
    roots: Mapping[int, int]
    prompts: tuple[Prompt, ...]  # on their responses, scores have mean 0 and standard deviation 1

    @property
    def root(self) -> int:
        """The full model whose token ids the reward model reads."""
        return self.roots[self.start.id]


def run(context: JobContext) -> None:
    """Freeze the judgments, train, measure and publish."""
    task, data = context.once(lambda: _read_and_freeze(context))
    plan = task.plan
    weights = VoteWeights.of(plan.reward, data.rows)
    for remark in weights.remarks:
        context.say(remark)
    roles = checkpoint_weights.load(context, task.beneath, four_bit=plan.four_bit, chat=plan.chat)
    text = task.instruction.text
    train = screening.screen(roles.loaded, data.rows, text, "comparisons", _compared)
    heldout = screening.screen(
        roles.loaded, data.heldout, text, "held-out comparisons", _compared, is_needed=False
    )
    prompts = screening.screen(
        roles.loaded,
        [sampled_completions.question_of(prompt) for prompt in task.prompts],
        text,
        "normalization prompts",
        lambda question: (question.key, question.skeleton),
    )
    refused = [*train.refusals.remarks, *heldout.refusals.remarks, *prompts.refusals.remarks]
    for remark in refused:
        context.say(f"{remark}.")
    asked = dict(
        conversations.asked_by_start_model(roles, prompts.kept, text, plan.sampling, plan.seed)
    )
    by_id = {
        prompt.id: [asked[question.key]]
        for prompt in task.prompts
        if (question := sampled_completions.question_of(prompt)).key in asked
    }
    normalized = [prompt for prompt in task.prompts if prompt.id in by_id]
    reading = reward_reading.of(context, roles, plan.reward, normalized, text, by_id)
    sources = reward_reading.sources(context, task.project)
    parts = reward_parts.build(plan.reward, sources, reading)
    inputs = RewardInputs(
        plan=plan,
        train=_rankings(train.kept, roles, task, weights),
        heldout=_rankings(heldout.kept, roles, task, VoteWeights()),
        criterion_weights=frozen_dataset.criterion_weights(data.rows),
        prompts=list(asked.items()),
        instruction=text,
        comparisons=len(train.kept),
    )
    result = reward.fit(context, roles, inputs, parts)
    if result is None:
        return
    figures, scored = reward_figures.measure(
        train.kept, heldout.kept, inputs, result.reward, result.criteria
    )
    metrics = {
        **result.end.summary,
        **figures,
        "prompts_without_room": len(inputs.prompts) - len(result.items),
    }
    settings = {**task.beneath.config, **roles.loaded.record, **result.scaled(roles, plan)}

    def write(folder: Path) -> None:
        result.save(roles, folder)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in scored)
        (folder / HELDOUT_SCORES).write_text("".join(lines), encoding="utf-8")

    model = TrainedModel(
        CheckpointKind.REWARD,
        write,
        settings,
        metrics,
        task.instruction,
        parent_id=task.start.id,
        parents=[task.start],
        data={
            "export": data.export.number,
            "sha256": data.export.sha256,
            "instructions": data.export.manifest.get("instructions", {}),
        },
        export_ids=[data.export.id],
        remarks=[*weights.remarks, *refused],
        card_remarks=[*_judged_by(data.rows), *_remarks(data.rows, task.instruction)],
    )
    published.publish(context, task.project, task.round, model)


def _compared(frozen: FrozenRow) -> tuple[str, Sequence[Mapping[str, Any]]]:
    row = frozen.row
    return f"comparison {row.comparison_id}", [*row.prompt.messages, *row.candidates[0].earlier]


def _judged_by(rows: Sequence[FrozenRow]) -> list[str]:
    """Say where judgments were made by AI judges."""
    judged = sum(len(row.ai_votes) for row in rows)
    people = sum(len(row.votes) for row in rows)
    if not judged:
        return []
    return [f"Learned from {judged} judgments of AI judges and {people} of people."]


def _remarks(rows: Sequence[FrozenRow], instruction: InstructionText) -> list[str]:
    """Name the versions of the instruction that comparisons were judged under, if others."""
    texts = {version: text for row in rows for version, text in row.row.instructions.items()}
    others = {version: text for version, text in texts.items() if text != instruction.text}
    return [
        f"Judged under version {version}: {text or 'none'}"
        if version
        else "Some judgments were imported, or made under an unknown instruction."
        for version, text in sorted(others.items())
    ]


def _read_and_freeze(context: JobContext) -> tuple[RewardTask, FrozenData]:
    with context.database.reader() as session:
        task = _read(session, context)
    title = f"{task.project.name}, judgments for the reward model of round {task.round.number}"
    return task, frozen_dataset.freeze(context, task.project.id, title, task.plan.reward.judged_by)


def _read(session: Session, context: JobContext) -> RewardTask:
    round_, project, plan = transactions.round_of(session, context)
    start = start_of(session, project, round_)
    prompts = prompt_selection.first(
        session,
        project.id,
        Split.TRAIN,
        plan.reward.normaliser_prompts,
        as_of=transactions.made_at(session, context),
    )
    return RewardTask(
        round_,
        project,
        plan,
        transactions.instruction_of(session, context, project),
        start,
        checkpoint_weights.layers(session, start),
        checkpoint_weights.root_ids(session, project.id),
        tuple(prompts),
    )


def start_of(session: Session, project: Project, round_: Round) -> Checkpoint:
    """Return what reward models and policies start from: the SFT model, else the base."""
    if project.sft_checkpoint_id is not None:
        return checkpoints.get(session, project.id, project.sft_checkpoint_id)
    if round_.policy_before_id is None:
        raise Invalid(f"round {round_.number} has no model to start from")
    before = checkpoints.get(session, project.id, round_.policy_before_id)
    return checkpoint_weights.layers(session, before).whole


def _rankings(
    rows: Sequence[FrozenRow], roles: Roles, task: RewardTask, weights: VoteWeights
) -> list[RankedPrompt]:
    ranked = frozen_dataset.rankings(
        rows,
        roles.loaded,
        instruction=task.instruction.text,
        roots=task.roots,
        root=task.root,
        weights=weights,
    )
    return reasoning.rankings(roles.loaded, ranked)
