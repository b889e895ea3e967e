"""The policy of a round: trained against its reward model, monitored, stopped, published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from app.domain import length_limits
from app.domain.gate_policies import Gate
from app.domain.gates.learning import LeftOutFigures
from app.domain.instruction_text import InstructionText
from app.domain.plan import Algorithm, RoundPlan, Start
from app.domain.states import RoundState
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Export, Project, Prompt, Round, Split
from app.services.checkpoints import checkpoints
from app.services.rounds import prompt_selection
from worker.rlhf.core.examples import PromptItem, RankedPrompt
from worker.rlhf.model.roles import POLICY, Roles
from worker.rlhf.reward import reasoning, scoring
from worker.rlhf.reward.scoring import AdapterReward
from worker.runs import gating, published
from worker.runs import reward as reward_run
from worker.runs.data import (
    checkpoint_weights,
    frozen_dataset,
    reward_reading,
    sampled_completions,
    server_access,
)
from worker.runs.data.checkpoint_weights import Layers
from worker.runs.fresh_votes import LabelerVotes
from worker.runs.gating import GateReadings
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.runs.published import TrainedModel
from worker.training import (
    conversations,
    kl_limit,
    policy,
    policy_reward,
    reward_parts,
    screening,
    token_ids,
    trained_parameters,
)
from worker.training.conversations import Turns
from worker.training.policy import PolicyResult, PromptRoom
from worker.training.policy_reward import PolicyReward
from worker.training.screening import Screened
from worker.training.vote_weights import VoteWeights


@dataclass(frozen=True, slots=True)
class PolicyTask:
    """The round, its models, and the prompts for training and evaluation."""

    round: Round
    project: Project
    plan: RoundPlan
    instruction: InstructionText
    start: Checkpoint
    before: Checkpoint
    reward: Checkpoint | None  # None: the plan fits none
    beneath: Layers
    prompts: tuple[Prompt, ...]
    heldout: tuple[Prompt, ...]
    export_ids: tuple[int, ...]

    @property
    def continues(self) -> bool:
        """Whether the policy is initialized from the current policy."""
        is_policy = self.before.kind == CheckpointKind.POLICY
        return self.plan.policy.start is Start.LAST and is_policy


def run(context: JobContext) -> None:
    """Train the policy and publish the best weights seen before any alarm."""
    task = context.once(lambda: _task(context))
    roles = checkpoint_weights.load(
        context,
        task.beneath,
        four_bit=task.plan.four_bit,
        parallel=task.plan.parallel,
        chat=task.plan.chat,
    )
    screened = _screened(task, roles)
    task = replace(task, prompts=tuple(screened[0].kept), heldout=tuple(screened[1].kept))
    asked = [_asked(task, roles, rows) for rows in (task.prompts, task.heldout)]
    prompts, heldout = (_items(task, roles, each) for each in asked)
    remarks = [remark for rows in screened for remark in rows.refusals.remarks]
    remarks += conversations.remarks([len(one.follow_up) for one in screened[0].kept])
    for remark in remarks:
        context.say(f"{remark}.")
    room = policy.with_room(context, roles, task.plan, prompts, heldout)
    measured = GateReadings(task.plan)
    if task.plan.policy.algorithm is not Algorithm.DPO:
        refused = len(screened[0].refusals.reasons)
        measured.figures[Gate.LEFT_OUT] = _left_out(task, room, refused)
    if gating.holds_back(context, task.round, RoundState.POLICY, measured):
        return
    reward = _reward(context, task, roles, room, asked[0] | asked[1])
    fresh = _fresh_votes(context, task, roles, asked[1])
    result = policy.train(
        context,
        roles,
        kl_limit.limited(context, task.plan, reward.model),
        room,
        reward.function,
        reward.normaliser,
        _rankings(context, task, roles),
        continue_from=checkpoint_weights.fetch(context, task.before) if task.continues else None,
        fresh=fresh,
        lengths=length_limits.of(reward.model),
        access=server_access.of(context, task.plan.sampling_server),
    )
    if result is None:
        return
    remarks += result.warnings
    model = TrainedModel(
        CheckpointKind.POLICY,
        partial(result.save, roles),
        _settings(task, roles, reward, result),
        result.metrics,
        task.instruction,
        parent_id=task.start.id,
        parents=[task.start] if task.reward is None else [task.start, task.reward],
        export_ids=task.export_ids,
        remarks=remarks,
        card_remarks=() if fresh is None else (fresh.summary(),),
        measured=measured,
    )
    if result.movement is not None:
        measured.figures[Gate.POLICY] = result.movement
    published.publish(context, task.project, task.round, model)


def _settings(
    task: PolicyTask, roles: Roles, reward: PolicyReward, result: PolicyResult
) -> dict[str, Any]:
    """Return what the policy was made from, and how."""
    return {
        **task.beneath.config,
        **roles.loaded.record,
        "algorithm": str(task.plan.policy.algorithm),
        "reward_checkpoint_id": None if task.reward is None else task.reward.id,
        "reward": dict(reward.record),
        "started_from_id": task.before.id if task.continues else task.start.id,
        "training": dict(result.settings),
        **trained_parameters.of(roles, [POLICY]),
    }


def _fresh_votes(
    context: JobContext, task: PolicyTask, roles: Roles, asked: Mapping[int, Turns]
) -> LabelerVotes | None:
    """Return those who are asked about the policy while it trains; None: nobody."""
    if not task.plan.policy.fresh_votes:
        return None
    return LabelerVotes(
        context,
        task.round,
        task.plan,
        {f"prompt-{prompt.id}": prompt for prompt in task.heldout},
        asked,
        task.start.name,
        task.instruction.version,
        roles.loaded.chat.thought_end,
    )


def _screened(task: PolicyTask, roles: Roles) -> list[Screened[Prompt]]:
    """Return the training and the held-out prompts that the chat template renders, and others."""
    return [
        screening.screen(
            roles.loaded, rows, task.instruction.text, f"{what} prompts", _named, is_needed=needed
        )
        for what, rows, needed in (
            ("training", task.prompts, task.plan.policy.algorithm is not Algorithm.DPO),
            ("held-out", task.heldout, False),
        )
    ]


def _left_out(task: PolicyTask, room: PromptRoom, refused: int) -> LeftOutFigures:
    tokens = task.plan.sampling.max_new_tokens
    too_long = int(room.left_out.get("prompts_without_room", 0))
    return LeftOutFigures(
        "prompts",
        RoundState.POLICY,
        len(task.prompts) + refused,
        too_long,
        refused,
        "sampling.max_new_tokens",
        tokens,
        tokens // 2 or None,
    )


def _reward(
    context: JobContext,
    task: PolicyTask,
    roles: Roles,
    room: PromptRoom,
    asked: Mapping[int, Turns],
) -> PolicyReward:
    """Return the recorded reward; without a reward model its parts are scaled first."""
    sources = reward_reading.sources(context, task.project)
    everywhere = [*task.prompts, *task.heldout]
    reading = reward_reading.of(
        context,
        roles,
        task.plan.reward,
        everywhere,
        task.instruction.text,
        {prompt_id: [turns] for prompt_id, turns in asked.items()},
    )
    if task.reward is None:
        return policy_reward.of_parts(context, roles, task.plan, room.prompts, sources, reading)
    names, normaliser = checkpoint_weights.add_reward(context, roles, task.reward)
    normaliser = policy.scale_at(normaliser, task.plan.policy.uncertainty_penalty)
    learned = AdapterReward(roles, names, scoring.probe(roles), normaliser)
    record = reward_parts.record_of(task.reward.config)
    whole = reward_parts.of(record, learned, sources, reading)
    function = reasoning.ignoring(whole, roles.loaded)
    return PolicyReward(function, normaliser, record, task.reward.config)


def _task(context: JobContext) -> PolicyTask:
    with context.database.reader() as session:
        return _read(session, context)


def _read(session: Session, context: JobContext) -> PolicyTask:
    round_, project, plan = transactions.round_of(session, context)
    reward_id = round_.reward_checkpoint_id
    if (reward_id is None and plan.fits_reward) or round_.policy_before_id is None:
        raise Invalid(f"round {round_.number} has no reward model to train against")
    start = reward_run.start_of(session, project, round_)
    as_of = transactions.made_at(session, context)
    prompts, heldout = (
        tuple(prompt_selection.first(session, project.id, split, count, as_of=as_of))
        for split, count in (
            (Split.TRAIN, plan.policy.prompts),
            (Split.VALIDATION, plan.policy.heldout_prompts),
        )
    )
    return PolicyTask(
        round_,
        project,
        plan,
        transactions.instruction_of(session, context, project),
        start,
        checkpoints.get(session, project.id, round_.policy_before_id),
        None if reward_id is None else checkpoints.get(session, project.id, reward_id),
        checkpoint_weights.layers(session, start),
        prompts,
        heldout,
        () if reward_id is None else tuple(checkpoints.input_ids(session, reward_id)),
    )


def _named(prompt: Prompt) -> tuple[str, Turns]:
    return f"prompt {prompt.id}", sampled_completions.question_of(prompt).skeleton


def _asked(task: PolicyTask, roles: Roles, prompts: Sequence[Prompt]) -> dict[int, Turns]:
    """Return what the policy is asked, by prompt: its turns, or a conversation to follow up."""
    questions = [sampled_completions.question_of(prompt) for prompt in prompts]
    asked = conversations.asked_by_start_model(
        roles, questions, task.instruction.text, task.plan.sampling, task.plan.seed
    )
    return {prompt.id: turns for prompt, (_key, turns) in zip(prompts, asked, strict=True)}


def _items(task: PolicyTask, roles: Roles, asked: Mapping[int, Turns]) -> list[PromptItem]:
    return [
        PromptItem(
            f"prompt-{prompt_id}",
            token_ids.prompt_ids(roles.loaded, turns, task.instruction.text),
            token_ids.readable(turns),
        )
        for prompt_id, turns in asked.items()
    ]


def _rankings(context: JobContext, task: PolicyTask, roles: Roles) -> list[RankedPrompt]:
    """Return the judgments that the reward model was trained on, if DPO needs them."""
    if task.plan.policy.algorithm is not Algorithm.DPO:
        return []
    with context.database.reader() as session:
        roots = checkpoint_weights.root_ids(session, task.project.id)
        export = session.get_one(Export, max(task.export_ids))
    rows = frozen_dataset.of_export(context, export).rows
    all_ranked = frozen_dataset.rankings(
        rows,
        roles.loaded,
        instruction=task.instruction.text,
        roots=roots,
        root=roots[task.start.id],
        weights=VoteWeights.of(task.plan.reward, rows),
    )
    return [ranked for ranked in all_ranked if ranked.pairs]
