"""Completions of the new and the old policy on test prompts, compared blind by labelers.

Both are sampled with the same random numbers, so policies that agree give identical completions,
which need no judgment. The round's reward model scores the same completions. If the old policy is
not the model that the round's policy is held to, that model responds to the same prompts too, and
only the reward model compares it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from sqlalchemy.orm import Session

from app.domain import chat_settings, earlier_turns
from app.domain.instruction_text import InstructionText
from app.domain.judgment_kinds import JudgmentKind, of_blind_pairs
from app.domain.plan import RoundPlan
from app.errors import Invalid
from app.models import (
    Checkpoint,
    Completion,
    Evaluation,
    Project,
    Prompt,
    Purpose,
    Round,
)
from app.services.checkpoints import checkpoints
from app.services.queue import comparisons
from app.services.rounds import evaluations, prompt_selection
from worker.orders import Interrupted
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import scoring
from worker.rlhf.reward.scoring import AdapterReward, RewardFunction
from worker.runs.data import checkpoint_weights, reward_reading, shared_draws
from worker.runs.data.sampled_completions import Draw
from worker.runs.data.scored_completions import CompletionReader, turns
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training import reward_parts
from worker.training.conversations import Turns
from worker.training.screening import Refusals

CHUNK = 100
OTHER_REWARDS = "the combined reward"
SEED_OFFSET = 7_000_003  # evaluation completions are sampled apart from the candidates


@dataclass(frozen=True, slots=True)
class EvaluateTask:
    """The round, the two policies and the arbiter."""

    round: Round
    project: Project
    plan: RoundPlan
    instruction: InstructionText
    new: Checkpoint
    old: Checkpoint
    initial: Checkpoint | None  # the SFT or base model beneath `new`; None if that is `old`
    arbiter: Checkpoint | None  # the reward model; None: the rewards of the plan
    evaluation: Evaluation
    prompts: tuple[Prompt, ...]
    refusals: Refusals = field(default_factory=lambda: Refusals("prompts"))

    @property
    def seed(self) -> int:
        """The seed of the completions."""
        return self.plan.seed * 1009 + self.round.number + SEED_OFFSET


Answers = Mapping[int, Completion]


def run(context: JobContext) -> None:
    """Sample both policies, score the completions, and queue those that differ for labelers."""
    with transactions.transaction(context) as session:
        task = _read(session, context)
    new, old = (_answers(context, task, policy) for policy in (task.new, task.old))
    initial = _answers(context, task, task.initial) if task.initial else {}
    both = [prompt for prompt in task.prompts if prompt.id in new and prompt.id in old]
    differing = [p for p in both if _shown(task, new[p.id]) != _shown(task, old[p.id])]
    scores = _scores(context, task, both, (new, old, initial))
    created = _compare(context, task, differing, new, old)
    same = [prompt.id for prompt in both if prompt not in differing]

    def finish(session: Session) -> Mapping[str, Any]:
        evaluations.record_scores(
            session,
            session.get_one(Evaluation, task.evaluation.id),
            arbiter=OTHER_REWARDS if task.arbiter is None else task.arbiter.name,
            scores={row.id: scores[row.id] for p in both for row in (new[p.id], old[p.id])},
            identical=same,
            lengths=_lengths(both, new, old),
            notes={
                "prompts_asked": len(task.prompts),
                "prompts_without_room": len(task.prompts) - len(both) - len(task.refusals.reasons),
                "prompts_refused": len(task.refusals.reasons),
                **_initial(task, both, initial, scores),
            },
        )
        return {"comparisons": created, "identical": len(same), **task.refusals.result}

    context.succeed(finish)


def _shown(task: EvaluateTask, row: Completion) -> str:
    """Return what labelers see of a completion."""
    mark = task.plan.chat.thought_end if task.plan.chat else ""
    said = [*earlier_turns.responses(row.earlier), row.text]
    return "\n\n".join(chat_settings.without_reasoning(text, mark).strip() for text in said)


def _read(session: Session, context: JobContext) -> EvaluateTask:
    round_, project, plan = transactions.round_of(session, context)
    if round_.policy_checkpoint_id is None or round_.policy_before_id is None:
        raise Invalid(f"round {round_.number} has no new policy to evaluate")
    opened = evaluations.open_evaluation(
        session, round_, round_.policy_checkpoint_id, round_.policy_before_id
    )
    new = checkpoints.get(session, project.id, round_.policy_checkpoint_id)
    initial = checkpoints.initial_model(session, new)
    settings = plan.evaluation
    prompts = prompt_selection.for_evaluation(
        session,
        round_,
        settings.prompts,
        settings.frozen_share,
        as_of=transactions.made_at(session, context),
    )
    return EvaluateTask(
        round_,
        project,
        plan,
        transactions.instruction_of(session, context, project),
        new,
        checkpoints.get(session, project.id, round_.policy_before_id),
        None if initial is None or initial.id == round_.policy_before_id else initial,
        None
        if round_.reward_checkpoint_id is None
        else checkpoints.get(session, project.id, round_.reward_checkpoint_id),
        opened,
        tuple(prompts),
    )


def _answers(
    context: JobContext, task: EvaluateTask, checkpoint: Checkpoint
) -> dict[int, Completion]:
    answering = checkpoint_weights.answering(
        context,
        checkpoint,
        task.instruction,
        four_bit=task.plan.four_bit,
        chat=task.plan.chat,
        server=checkpoint_weights.served_base(context, task.plan, task.new),
    )
    wanted = Draw(task.plan.sampling, task.seed, 1)
    completions: dict[int, Completion] = {}
    for rows in shared_draws.draw(context, answering, task.prompts, wanted):
        completions |= {row.prompt_id: row for row in rows}
        context.report(len(completions), len(task.prompts), f"responses of {checkpoint.name}")
        if context.should_stop() in {"cancel", "preempt"}:
            raise Interrupted(f"job {context.job_id} was asked to stop")
    task.refusals.reasons.update(answering.refusals.reasons)
    return completions


def _scores(
    context: JobContext, task: EvaluateTask, prompts: Sequence[Prompt], answers: Sequence[Answers]
) -> dict[int, float]:
    scored_on = task.arbiter or task.new
    with context.database.reader() as session:
        beneath = checkpoint_weights.layers(session, scored_on)
        roots = checkpoint_weights.root_ids(session, task.project.id)
    roles = checkpoint_weights.load(
        context, beneath, four_bit=task.plan.four_bit, chat=task.plan.chat
    )
    rows = {p.id: [each[p.id] for each in answers if p.id in each] for p in prompts}
    asked = {p.id: [turns(p, row) for row in rows[p.id]] for p in prompts}
    reward = _reward(context, task, roles, prompts, asked)
    reader = CompletionReader(roles, task.instruction.text, roots, roots[scored_on.id])
    branches = [branch for prompt in prompts for branch in reader.branches(prompt, rows[prompt.id])]
    if not branches:
        return {}
    scores = reward.score(branches).normalized.tolist()
    scored = [row for prompt in prompts for row in rows[prompt.id]]
    return {row.id: score for row, score in zip(scored, scores, strict=True)}


def _reward(
    context: JobContext,
    task: EvaluateTask,
    roles: Roles,
    prompts: Sequence[Prompt],
    asked: Mapping[int, Sequence[Turns]],
) -> RewardFunction:
    """Return the round's reward model, or, if none was fitted, the rewards of its policy."""
    if task.arbiter is not None:
        names, normaliser = checkpoint_weights.add_reward(context, roles, task.arbiter)
        return AdapterReward(roles, names, scoring.probe(roles), normaliser)
    text = task.instruction.text
    reading = reward_reading.of(context, roles, task.plan.reward, prompts, text, asked)
    sources = reward_reading.sources(context, task.project)
    return reward_parts.of(task.new.config["reward"], None, sources, reading)


def _compare(
    context: JobContext, task: EvaluateTask, prompts: Sequence[Prompt], new: Answers, old: Answers
) -> int:
    for at in range(0, len(prompts), CHUNK):
        with transactions.transaction(context) as session:
            project = session.get_one(Project, task.project.id)
            for prompt in prompts[at : at + CHUNK]:
                comparisons.create(
                    session,
                    project,
                    prompt.id,
                    [new[prompt.id].id, old[prompt.id].id],
                    natural_key=f"evaluation-{task.evaluation.id}-prompt-{prompt.id}",
                    seed=task.seed,
                    purpose=Purpose.EVALUATION,
                    round_id=task.round.id,
                    evaluation_id=task.evaluation.id,
                    overlap=task.plan.evaluation.overlap,
                    kind=of_blind_pairs(JudgmentKind(project.judgment_kind)),
                )
    return len(prompts)


def _lengths(prompts: Sequence[Prompt], new: Answers, old: Answers) -> dict[str, float]:
    if not prompts:
        return {}
    return {
        "new": fmean(len(new[prompt.id].text) for prompt in prompts),
        "old": fmean(len(old[prompt.id].text) for prompt in prompts),
    }


def _initial(
    task: EvaluateTask, prompts: Sequence[Prompt], answers: Answers, scores: Mapping[int, float]
) -> dict[str, Any]:
    """Return what to record of the initial model, if it responded beside the old policy."""
    rows = [answers[prompt.id] for prompt in prompts if prompt.id in answers]
    if task.initial is None or not rows:
        return {}
    recorded = {
        "checkpoint_id": task.initial.id,
        "scores": {str(row.id): scores[row.id] for row in rows},
        "length": fmean(len(row.text) for row in rows),
    }
    return {evaluations.INITIAL: recorded}
