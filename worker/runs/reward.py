"""The reward model of a round: freeze the judgments, fit the model, compare it with people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.domain.gate_policies import Gate
from app.domain.instruction_text import InstructionText
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.errors import Invalid
from app.formats.training_rows import FrozenRow
from app.models import Checkpoint, CheckpointKind, Project, Prompt, Round, Split
from app.services.checkpoints import checkpoints
from app.services.rounds import prompt_selection
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.model import models
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import reasoning
from worker.rlhf.reward.scoring import RewardFunction
from worker.runs import gating, published
from worker.runs.data import (
    checkpoint_weights,
    frozen_dataset,
    reward_reading,
    sampled_completions,
)
from worker.runs.data.checkpoint_weights import Layers
from worker.runs.data.frozen_dataset import FrozenData
from worker.runs.gating import GateReadings
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.runs.published import TrainedModel
from worker.training import (
    conversations,
    label_curve,
    reward,
    reward_figures,
    reward_parts,
    reward_search,
    screening,
)
from worker.training.conversations import Question, Turns
from worker.training.layout import HELDOUT_SCORES
from worker.training.reward import RewardInputs, RewardResult
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


@dataclass(frozen=True, slots=True)
class FittingRows:
    """The rows and prompts that the model's chat template renders, and what is said of others."""

    train: list[FrozenRow]
    heldout: list[FrozenRow]
    questions: list[Question]
    refused: int  # of the training rows
    refused_heldout: int
    remarks: list[str]


def run(context: JobContext) -> None:
    """Freeze the judgments, train, measure and publish."""
    task, data = context.once(lambda: _read_and_freeze(context))
    plan, text = task.plan, task.instruction.text
    weights = VoteWeights.of(plan.reward, data.rows)
    for remark in weights.remarks:
        context.say(remark)
    roles = checkpoint_weights.load(
        context, task.beneath, four_bit=plan.four_bit, parallel=plan.parallel, chat=plan.chat
    )
    fitting = _fitting(roles, task, data)
    for remark in fitting.remarks:
        context.say(f"{remark}.")
    asked = dict(
        conversations.asked_by_start_model(roles, fitting.questions, text, plan.sampling, plan.seed)
    )
    parts = _other_rewards(context, task, roles, asked)
    inputs = _inputs(task, data, roles, fitting, asked, weights)
    measured = GateReadings(plan)
    left_out = measured.figures[Gate.LEFT_OUT] = reward_figures.left_out(
        inputs, fitting.refused, models.context_tokens(roles.causal)
    )
    if gating.holds_back(context, task.round, RoundState.REWARD, measured):
        return
    inputs, searched = reward_search.settle(context, roles, inputs)
    fitted = _sub_samples(context, task, inputs)
    result = reward.fit(context, roles, inputs, parts)
    if result is None:
        return
    figures, scored = reward_figures.measure(
        fitting.train, fitting.heldout, inputs, result.reward, result.criteria
    )
    metrics = {
        **result.end.summary,
        **searched,
        **figures,
        "prompts_without_room": len(inputs.prompts) - len(result.items),
        "refused": fitting.refused + fitting.refused_heldout,
    }
    if plan.reward.label_value:
        scores = {int(row["comparison"]): row["scores"] for row in scored}
        whole = len(inputs.train) - left_out.too_long
        metrics |= label_curve.value(fitted, whole, fitting.heldout, scores)
    if plan.trains_on_reward:
        measured.figures[Gate.REWARD] = reward_figures.worth(inputs.plan, figures, searched)
    model = replace(
        _model(task, data, roles, result, scored),
        metrics=metrics,
        remarks=[*weights.remarks, *fitting.remarks],
        measured=measured,
    )
    published.publish(context, task.project, task.round, model)


def _fitting(roles: Roles, task: RewardTask, data: FrozenData) -> FittingRows:
    loaded, text = roles.loaded, task.instruction.text
    train = screening.screen(loaded, data.rows, text, "comparisons", _compared)
    heldout = screening.screen(
        loaded, data.heldout, text, "held-out comparisons", _compared, is_needed=False
    )
    prompts = screening.screen(
        loaded,
        [sampled_completions.question_of(prompt) for prompt in task.prompts],
        text,
        "normalization prompts",
        lambda question: (question.key, question.skeleton),
    )
    refusals = (train.refusals, heldout.refusals, prompts.refusals)
    remarks = [remark for each in refusals for remark in each.remarks]
    return FittingRows(
        train.kept,
        heldout.kept,
        prompts.kept,
        len(train.refusals.reasons),
        len(heldout.refusals.reasons),
        remarks,
    )


def _inputs(
    task: RewardTask,
    data: FrozenData,
    roles: Roles,
    fitting: FittingRows,
    asked: Mapping[str, Turns],
    weights: VoteWeights,
) -> RewardInputs:
    return RewardInputs(
        plan=task.plan,
        train=_rankings(fitting.train, roles, task, weights),
        heldout=_rankings(fitting.heldout, roles, task, VoteWeights()),
        criterion_weights=frozen_dataset.criterion_weights(data.rows),
        prompts=list(asked.items()),
        instruction=task.instruction.text,
        comparisons=len(fitting.train),
    )


def _other_rewards(
    context: JobContext, task: RewardTask, roles: Roles, asked: Mapping[str, Turns]
) -> tuple[RewardFunction, ...]:
    """Return the plan's other rewards, which read the normalization prompts."""
    by_id = {
        prompt.id: [asked[question.key]]
        for prompt in task.prompts
        if (question := sampled_completions.question_of(prompt)).key in asked
    }
    prompts = [prompt for prompt in task.prompts if prompt.id in by_id]
    text = task.instruction.text
    reading = reward_reading.of(context, roles, task.plan.reward, prompts, text, by_id)
    sources = reward_reading.sources(context, task.project)
    return reward_parts.build(task.plan.reward, sources, reading)


def _model(
    task: RewardTask,
    data: FrozenData,
    roles: Roles,
    result: RewardResult,
    scored: Sequence[Mapping[str, Any]],
) -> TrainedModel:
    """Return the model with what it was made from, its scale fitted."""

    def write(folder: Path) -> None:
        result.save(roles, folder)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in scored)
        (folder / HELDOUT_SCORES).write_text("".join(lines), encoding="utf-8")

    return TrainedModel(
        CheckpointKind.REWARD,
        write,
        {**task.beneath.config, **roles.loaded.record, **result.scaled(roles, task.plan)},
        {},
        task.instruction,
        parent_id=task.start.id,
        parents=[task.start],
        data={
            "export": data.export.number,
            "sha256": data.export.sha256,
            "instructions": data.export.manifest.get("instructions", {}),
        },
        export_ids=[data.export.id],
        card_remarks=[*_judged_by(data.rows), *_remarks(data.rows, task.instruction)],
    )


def _sub_samples(
    context: JobContext, task: RewardTask, inputs: RewardInputs
) -> dict[int, dict[int, list[float]]]:
    """Return the held-out scores of models fitted to fewer comparisons, if the plan asks for it."""
    if not task.plan.reward.label_value:
        return {}
    return label_curve.fits(
        context,
        inputs,
        lambda: checkpoint_weights.load(
            context,
            task.beneath,
            four_bit=task.plan.four_bit,
            parallel=task.plan.parallel,
            chat=task.plan.chat,
        ),
    )


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
