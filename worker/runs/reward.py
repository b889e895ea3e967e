"""The reward model of a round: judgments frozen, a model fitted, held against people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.domain.plan import RoundPlan
from app.domain.reward_parts import PairLoss
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Project, Prompt, Round, Split
from app.services.checkpoints import checkpoints
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.services.datasets.training_rows import FrozenRow
from app.services.rounds import prompt_selection, rounds
from worker.rlhf.core.examples import PromptItem, Ranking
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.roles import BASE, REFERENCE, SFT, LoraSettings, Roles
from worker.rlhf.reward import criterion_heads, scoring
from worker.rlhf.reward import reward_model as fitting
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.normaliser import Normaliser
from worker.rlhf.reward.ranking_loss import LossName, Terms
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.runs import (
    cards,
    following,
    frozen,
    held,
    reward_figures,
    rewards,
    texts,
    weights,
)
from worker.runs.context import JobContext
from worker.runs.frozen import Data
from worker.runs.weighing import Weights
from worker.runs.weights import Layers

LOSSES: Mapping[PairLoss, LossName] = {
    PairLoss.PAIRS: "pairs",
    PairLoss.PLACKETT_LUCE: "plackett_luce",
}
HELDOUT_SCORES = "heldout_scores.jsonl"  # beside the weights: every held-out text and its score


@dataclass(frozen=True, slots=True)
class Task:
    """The round, and the model that the reward model is trained from."""

    round: Round
    project: Project
    plan: RoundPlan
    start: Checkpoint
    beneath: Layers
    roots: Mapping[int, int]
    prompts: tuple[Prompt, ...]  # on which scores are mean 0, std 1

    @property
    def root(self) -> int:
        """The whole model whose ids the reward model reads."""
        return self.roots[self.start.id]


def run(context: JobContext) -> None:
    """Freeze the judgments, train, measure and publish."""
    task, data = context.once(lambda: _given(context))
    counted = Weights.of(task.plan.reward, data.rows)
    roles = weights.load(context, task.beneath, four_bit=task.plan.four_bit)
    tokenizer = roles.loaded.tokenizer
    # A classifier that is not there is found out before anything is trained.
    parts = [rewards.build(each, tokenizer, context.device) for each in task.plan.reward.parts]
    train = _rankings(data.rows, roles, task, counted)
    heldout = _rankings(data.heldout, roles, task, Weights())
    fitted = criterion_heads.fit(train, frozen.criterion_weights(data.rows))
    config = config_of(task.plan, len(data.rows), fitted, roles=roles)
    names = fitting.prepare(roles, config)
    start_from_sft(roles, names)
    if task.plan.checkpoints_gradients:
        roles.checkpoint_gradients(True)
    asked = [(f"prompt-{prompt.id}", prompt.messages) for prompt in task.prompts]
    answerable = to_answer(roles, asked, task.project.instruction, task.plan)
    state = TrainingState()
    following.restore(context, state)
    loop = fitting.train(roles, train, heldout, config, state)
    ended = following.follow(context, loop, state, note="fitting the judgments")
    if not context.goes_on():
        return
    reward = AdapterReward(roles, names, scoring.probe(roles))
    metrics = {**ended.metrics, "steps": ended.step, "stop_reason": ended.reason}
    found, scored = reward_figures.measure(data, train, heldout, reward, task.plan, fitted)
    metrics |= found | {"prompts_without_room": len(asked) - len(answerable)}
    answers = own_answers(roles, asked, task.project.instruction, task.plan)
    normaliser = scaled(reward, answers, task.plan)
    settings = {
        **task.beneath.config,
        "names": list(names),
        "normaliser": normaliser.to_json(),
        "training": config.to_json(),
        **rewards.noted(task.plan.reward, parts, answers),
    }
    _publish(context, task, roles, names, settings, data, metrics, scored)


def config_of(
    plan: RoundPlan, comparisons: int, fitted: Criteria = (), *, roles: Roles | None = None
) -> RewardConfig:
    """Return the loop's settings for that many comparisons, with the criteria that were rated.

    Where the roles have an SFT adapter its shape goes before the plan's, as it does for a policy.
    """
    own = LoraSettings(plan.reward.lora.r, plan.reward.lora.alpha)
    return RewardConfig(
        members=plan.reward.ensemble,
        epochs=plan.reward.epochs,
        batch_rankings=plan.reward.batch_size,
        learning_rate=plan.reward.learning_rate,
        terms=Terms(
            loss=LOSSES[plan.reward.loss],
            with_margin=plan.reward.use_margin,
            smoothing=plan.reward.label_smoothing,
            centering=plan.reward.centering,
        ),
        evaluate_every=plan.reward.evaluation_interval(comparisons),
        patience=plan.reward.patience,
        max_tokens=plan.reward.max_tokens,
        seed=plan.seed,
        lora=own if roles is None else roles.settings.get(SFT, own),
        criteria=fitted,
    )


def _given(context: JobContext) -> tuple[Task, Data]:
    with context.database.reader() as session:
        task = _read(session, context)
    title = f"{task.project.name}, judgments for the reward model of round {task.round.number}"
    return task, frozen.freeze(context, task.project.id, title)


def _read(session: Session, context: JobContext) -> Task:
    round_, project, plan = held.round_of(session, context)
    start = start_of(session, project, round_)
    prompts = prompt_selection.first(
        session,
        project.id,
        Split.TRAIN,
        plan.reward.normaliser_prompts,
        as_of=held.made_at(session, context),
    )
    return Task(
        round_,
        project,
        plan,
        start,
        weights.layers(session, start),
        weights.root_ids(session, project.id),
        tuple(prompts),
    )


def start_of(session: Session, project: Project, round_: Round) -> Checkpoint:
    """Return what reward models and policies start from: the SFT model, else the base."""
    if project.sft_checkpoint_id is not None:
        return checkpoints.get(session, project.id, project.sft_checkpoint_id)
    if round_.policy_before_id is None:
        raise Invalid(f"round {round_.number} has no model to start from")
    before = checkpoints.get(session, project.id, round_.policy_before_id)
    return weights.layers(session, before).whole


def start_from_sft(roles: Roles, names: Sequence[str]) -> None:
    """Let the reward model begin where SFT ended, where that is an adapter.

    Raises:
        Invalid: the adapters differ in shape, so that the same numbers would mean something else.
    """
    if not roles.has_adapter(SFT):
        return
    for name in names:
        if _shape(roles, name) != _shape(roles, SFT):
            raise Invalid(
                "the reward model cannot begin where SFT ended: its adapter has "
                f"{_told(roles, name)}, that of SFT {_told(roles, SFT)}"
            )
        roles.copy_role(SFT, name)


def _shape(roles: Roles, name: str) -> tuple[int, int, frozenset[str]]:
    """Return rank, scale and the layers of an adapter, whichever way they were named."""
    own = roles.settings[name]
    keys = (key for key in roles.named_parameters_of(name) if ".lora_" in key)
    return own.r, own.alpha, frozenset(key.partition("/")[2].split(".lora_")[0] for key in keys)


def _told(roles: Roles, name: str) -> str:
    r, alpha, layers = _shape(roles, name)
    return f"r {r}, alpha {alpha} on {len(layers)} layers"


def _rankings(
    rows: Sequence[FrozenRow], roles: Roles, task: Task, counted: Weights
) -> list[Ranking]:
    return frozen.rankings(
        rows,
        roles.loaded.tokenizer,
        instruction=task.project.instruction,
        roots=task.roots,
        root=task.root,
        weights=counted,
    )


def own_answers(
    roles: Roles,
    prompts: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    instruction: str,
    plan: RoundPlan,
) -> list[Branches]:
    """Return an answer of the start model to each prompt that leaves room for one.

    Prompts come as a key, which seeds the answer, and the turns.
    """
    settings = plan.sampling
    items = to_answer(roles, prompts, instruction, plan)
    config = SamplingConfig(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=plan.seed,
        batch_size=settings.batch_size,
    )
    ids = {item.key: item.prompt_ids for item in items}
    role = REFERENCE if roles.has_adapter(SFT) else BASE
    return [
        Branches(ids[one.prompt_key], [one.token_ids])
        for one in sampling.generate(roles, items, config, role)
    ]


def to_answer(
    roles: Roles,
    prompts: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    instruction: str,
    plan: RoundPlan,
) -> list[PromptItem]:
    """Return those prompts of the scale that leave room for an answer.

    Raises:
        Invalid: none does, so that there is nothing to bring scores to scale on.
    """
    tokenizer, tokens = roles.loaded.tokenizer, plan.sampling.max_new_tokens
    items = [
        PromptItem(key, texts.prompt_ids(tokenizer, messages, instruction))
        for key, messages in prompts
    ]
    kept = texts.that_fit(items, roles, tokens)
    nothing = texts.without_room("scale's", items, kept, roles, tokens)
    if nothing is not None:
        raise Invalid(f"the reward model cannot be brought to scale: {nothing}")
    return kept


def scaled(reward: AdapterReward, answers: Sequence[Branches], plan: RoundPlan) -> Normaliser:
    """Put the scores on the scale on which these answers have mean 0 and std 1."""
    return Normaliser.fit(reward.raw(answers), penalty=plan.policy.uncertainty_penalty)


def _publish(
    context: JobContext,
    task: Task,
    roles: Roles,
    names: Sequence[str],
    settings: Mapping[str, Any],
    data: Data,
    metrics: Mapping[str, Any],
    scored: Sequence[Mapping[str, Any]],
) -> None:
    folder = context.workdir / "checkpoint"

    def write(aside: Path) -> None:
        for name in names:
            saving.save_reward(roles, aside / name, role=name)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in scored)
        (aside / HELDOUT_SCORES).write_text("".join(lines), encoding="utf-8")

    card = cards.Card(
        "Reward model",
        task.project.name,
        task.round.number,
        settings,
        metrics,
        parents={task.start.name: task.start.sha256},
        data={"export": data.export.number, "sha256": data.export.sha256},
    )
    cards.fill(context, folder, card, write)
    published = context.publish(folder, "reward")

    def finish(session: Session) -> Mapping[str, Any]:
        row = checkpoints.create(
            session,
            project_id=task.project.id,
            kind=CheckpointKind.REWARD,
            written=CheckpointFiles(published.uri, published.sha256, settings, metrics),
            job_id=context.job_id,
            round_id=task.round.id,
            parent_id=task.start.id,
            export_ids=[data.export.id],
        )
        rounds.attach(session, task.round.id, row)
        return {"checkpoint_id": row.id, "stop_reason": metrics["stop_reason"]}

    context.succeed(finish)
