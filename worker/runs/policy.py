"""The policy of a round: trained against its reward model, watched, stopped, published."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.orm import Session

from app.domain.plan import Algorithm, PolicyPlan, RoundPlan, Start
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Export, Project, Prompt, Round, Split
from app.services.checkpoints import checkpoints
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.services.rounds import prompt_selection, rounds
from worker.rlhf.core.examples import PromptItem, Ranking
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.roles import REFERENCE, SFT, Roles
from worker.rlhf.policy import stopping
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.policy.stopping import Rule
from worker.rlhf.reward import scoring
from worker.rlhf.reward.normaliser import Normaliser
from worker.rlhf.reward.scoring import AdapterReward
from worker.runs import algorithms, cards, following, frozen, held, rewards, texts, weights
from worker.runs import reward as reward_run
from worker.runs.algorithms import NOTES, Given, Prepared
from worker.runs.context import JobContext
from worker.runs.weighing import Weights
from worker.runs.weights import POLICY, Layers

PREVIOUS = "previous"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """The round, its models, and the prompts to train and to look on."""

    round: Round
    project: Project
    plan: RoundPlan
    start: Checkpoint
    before: Checkpoint
    reward: Checkpoint
    beneath: Layers
    prompts: tuple[Prompt, ...]
    heldout: tuple[Prompt, ...]
    export_ids: tuple[int, ...]


def run(context: JobContext) -> None:
    """Train the policy and publish the best that was seen before any alarm."""
    task = context.once(lambda: _task(context))
    roles = weights.load(context, task.beneath, four_bit=task.plan.four_bit)
    names, normaliser = weights.add_reward(context, roles, task.reward)
    normaliser = scale_at(normaliser, task.plan.policy.uncertainty_penalty)
    learned = AdapterReward(roles, names, scoring.probe(roles), normaliser)
    reward = rewards.of(task.reward.config, learned, roles.loaded.tokenizer, context.device)
    prompts, heldout, left_out = _asked(task, roles)
    rankings = _rankings(context, task, roles)
    # DPO counts its rankings alone, and may have no prompt.
    steps = task.plan.policy.steps(max(1, len(prompts)), len(rankings)).total
    config = config_of(task.plan, roles, normaliser, steps)
    state = TrainingState()
    following.restore(context, state)
    given = Given(roles, prompts, heldout, reward, rankings, state)
    prepared = _prepare(context, task, given, config)
    if task.plan.checkpoints_gradients:
        roles.checkpoint_gradients(True)
    ended = following.follow(
        context,
        prepared.loop,
        state,
        save_every=task.plan.policy.save_every,
        keeps_samples=partial(_keeps_samples, task.plan.policy),
        note=NOTES[task.plan.policy.algorithm],
    )
    if not context.goes_on():
        return
    best_step = state.best.step if state.best is not None else ended.step
    metrics: dict[str, Any] = {
        **ended.metrics,
        **left_out,
        "steps": ended.step,
        "stop_reason": reason(ended, best_step),
        "stopped_by_alarm": bool(state.values.get("stopped_by_alarm", False)),
        "best_step": best_step,
    }
    _publish(context, task, roles, prepared.settings, metrics)


def config_of(plan: RoundPlan, roles: Roles, normaliser: Normaliser, steps: int) -> PpoConfig:
    """Return the loop's settings; all adapters take the shape of those that exist."""
    policy = plan.policy
    return PpoConfig(
        steps=steps,
        episodes=policy.batch_size,
        epochs=policy.passes,
        minibatches=policy.minibatches,
        policy_learning_rate=policy.learning_rate,
        value_learning_rate=policy.value_learning_rate or policy.learning_rate,
        kl_coefficient=policy.kl_coefficient,
        kl_control="adaptive" if policy.is_kl_adaptive else "fixed",
        max_new_tokens=plan.sampling.max_new_tokens,
        temperature=plan.sampling.temperature,
        seed=plan.seed,
        value_scale=normaliser.members[0],
        value_trunk="policy" if policy.shares_trunk else "value",
        watch=WatchConfig(
            every=policy.evaluation_interval(steps),
            prompts=policy.heldout_prompts,
            rules=rules(policy),
        ),
        lora=roles.settings[SFT if roles.has_adapter(SFT) else "reward"],
    )


def scale_at(normaliser: Normaliser, penalty: float) -> Normaliser:
    """Return a reward model's scale at the penalty that the policy's plan wants.

    Raises:
        Invalid: it is not known there.
    """
    try:
        return normaliser.at(penalty)
    except ValueError as error:
        raise Invalid(str(error)) from error


def rules(policy: PolicyPlan) -> tuple[Rule, ...]:
    """Return the reasons to stop: the plan's own, and the signs of over-optimization."""
    found: list[Rule] = [
        stopping.HeldoutPeak(),
        stopping.Disagreement(),
        stopping.LengthDrift(),
        stopping.EntropyCollapse(),
    ]
    if policy.kl_budget is not None:
        found.append(stopping.KlBudget(policy.kl_budget))
    if policy.reward_target is not None:
        found.append(stopping.RewardTarget(policy.reward_target))
    if policy.plateau is not None:
        found.append(stopping.Plateau(policy.plateau))
    return tuple(found)


def _keeps_samples(policy: PolicyPlan, report: StepReport) -> bool:
    return report.stop_reason is not None or policy.keeps_samples(report.step, report.steps_total)


def reason(ended: following.Ended, best_step: int) -> str:
    """Say why the run ended, and which weights are published where they are not the last."""
    if best_step == ended.step:
        return ended.reason
    kept = f"those of step {best_step}" if best_step else "those it began with"
    return f"{ended.reason}; the best on held-out prompts are {kept}, which are kept"


def _task(context: JobContext) -> Task:
    with context.database.reader() as session:
        return _read(session, context)


def _read(session: Session, context: JobContext) -> Task:
    round_, project, plan = held.round_of(session, context)
    if round_.reward_checkpoint_id is None or round_.policy_before_id is None:
        raise Invalid(f"round {round_.number} has no reward model to train against")
    start = reward_run.start_of(session, project, round_)
    as_of = held.made_at(session, context)
    prompts, heldout = (
        tuple(prompt_selection.first(session, project.id, split, count, as_of=as_of))
        for split, count in (
            (Split.TRAIN, plan.policy.prompts),
            (Split.VALIDATION, plan.policy.heldout_prompts),
        )
    )
    return Task(
        round_,
        project,
        plan,
        start,
        checkpoints.get(session, project.id, round_.policy_before_id),
        checkpoints.get(session, project.id, round_.reward_checkpoint_id),
        weights.layers(session, start),
        prompts,
        heldout,
        tuple(checkpoints.input_ids(session, round_.reward_checkpoint_id)),
    )


def _asked(task: Task, roles: Roles) -> tuple[list[PromptItem], list[PromptItem], dict[str, Any]]:
    """Return the prompts to train and to look on, and what is to be said of those without room.

    Raises:
        Invalid: no prompt to train on leaves room for an answer.
    """
    tokens = task.plan.sampling.max_new_tokens
    every, watched = (_items(task, roles, each) for each in (task.prompts, task.heldout))
    prompts, heldout = (texts.that_fit(each, roles, tokens) for each in (every, watched))
    nothing = texts.without_room("training", every, prompts, roles, tokens)
    if not prompts and task.plan.policy.algorithm is not Algorithm.DPO:
        raise Invalid(nothing or "there is no prompt to train on")
    told: dict[str, Any] = {
        "prompts_without_room": len(every) - len(prompts),
        "heldout_prompts_without_room": len(watched) - len(heldout),
    }
    unwatched = texts.without_room("held-out", watched, heldout, roles, tokens)
    if unwatched is not None:
        log.warning("nothing to look at", round=task.round.number, reason=unwatched)
        told["heldout_reason"] = unwatched
    return prompts, heldout, told


def _items(task: Task, roles: Roles, prompts: tuple[Prompt, ...]) -> list[PromptItem]:
    tokenizer = roles.loaded.tokenizer
    return [
        PromptItem(
            f"prompt-{prompt.id}",
            texts.prompt_ids(tokenizer, prompt.messages, task.project.instruction),
        )
        for prompt in prompts
    ]


def _rankings(context: JobContext, task: Task, roles: Roles) -> list[Ranking]:
    """Return the judgments that the reward model learned from, where DPO needs them."""
    if task.plan.policy.algorithm is not Algorithm.DPO:
        return []
    with context.database.reader() as session:
        roots = weights.root_ids(session, task.project.id)
        export = session.get_one(Export, max(task.export_ids))
    rows = frozen.of_export(context, export).rows
    found = frozen.rankings(
        rows,
        roles.loaded.tokenizer,
        instruction=task.project.instruction,
        roots=roots,
        root=roots[task.start.id],
        weights=Weights.of(task.plan.reward, rows),
    )
    return [each for each in found if each.pairs]


def _prepare(context: JobContext, task: Task, given: Given, config: PpoConfig) -> Prepared:
    """Make the policy ready; where the plan says so it goes on from the policy in force."""
    continues = task.plan.policy.start is Start.LAST and task.before.kind == CheckpointKind.POLICY
    if continues:
        saving.load_policy(given.roles, weights.fetch(context, task.before), PREVIOUS)
    prepared = algorithms.prepare(
        task.plan, given, config, sampled=PREVIOUS if continues else REFERENCE
    )
    if continues:
        given.roles.copy_role(PREVIOUS, POLICY)
    return prepared


def _publish(
    context: JobContext,
    task: Task,
    roles: Roles,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    folder = context.workdir / "checkpoint"
    settings = {
        **task.beneath.config,
        "algorithm": str(task.plan.policy.algorithm),
        "reward_checkpoint_id": task.reward.id,
        "started_from_id": task.before.id
        if task.plan.policy.start is Start.LAST
        else task.start.id,
        "training": dict(training),
    }
    card = cards.Card(
        "Policy",
        task.project.name,
        task.round.number,
        settings,
        metrics,
        parents={row.name: row.sha256 for row in (task.start, task.reward)},
    )

    def write(aside: Path) -> None:
        saving.save_policy(roles, aside, role=POLICY)

    cards.fill(context, folder, card, write)
    published = context.publish(folder, "policy")

    def finish(session: Session) -> Mapping[str, Any]:
        row = checkpoints.create(
            session,
            project_id=task.project.id,
            kind=CheckpointKind.POLICY,
            written=CheckpointFiles(published.uri, published.sha256, settings, metrics),
            job_id=context.job_id,
            round_id=task.round.id,
            parent_id=task.start.id,
            export_ids=task.export_ids,
        )
        rounds.attach(session, task.round.id, row)
        return {"checkpoint_id": row.id, "stop_reason": metrics["stop_reason"]}

    context.succeed(finish)
