"""A policy from prompts in a file and a reward model: PPO, RLOO, or best of n."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from app.errors import Invalid
from worker.files import models, rows, training
from worker.files.folder import RunFolder
from worker.files.training import Wanted
from worker.rlhf import best_of_n, ppo, rloo, saving, scoring
from worker.rlhf.best_of_n import BestOfNConfig
from worker.rlhf.data import PromptItem
from worker.rlhf.normaliser import Normaliser
from worker.rlhf.ppo import PpoConfig
from worker.rlhf.report import StepReport
from worker.rlhf.rloo import RlooConfig
from worker.rlhf.roles import SFT, LoraSettings, Roles
from worker.rlhf.sampling import SamplingConfig
from worker.rlhf.scoring import AdapterReward
from worker.rlhf.sft import SftConfig
from worker.rlhf.training_state import TrainingState
from worker.runs import following
from worker.runs import policy as jobs
from worker.runs.weights import POLICY

ALGORITHMS = ("ppo", "rloo", "best-of-n")
NOTE = {"ppo": "practising", "rloo": "practising", "best-of-n": "imitating the winners"}


def run(wanted: Wanted, folder: RunFolder) -> None:
    """Train a policy against a reward model; the best seen before any alarm is what stays."""
    parted = wanted.read(rows.prompts)
    opened = models.open_model(wanted.model, wanted.device)
    roles, plan = opened.roles, wanted.plan
    names, normaliser = models.add_reward(roles, wanted.reward)
    new_tokens = plan.sampling.max_new_tokens
    prompts, heldout = (
        training.items(part, roles, wanted.instruction, new_tokens)
        for part in (parted.train, parted.heldout)
    )
    if not prompts:
        raise Invalid(f"no prompt leaves room for {new_tokens} new tokens in the model's context")
    penalty = plan.policy.uncertainty_penalty
    reward = AdapterReward(roles, names, scoring.probe(roles), normaliser, penalty=penalty)
    state = training.begin(folder)
    settings, loop = _begin(wanted, roles, (prompts, heldout), reward, normaliser, state)
    ended = following.follow(
        folder,
        loop,
        state,
        save_every=wanted.save_every or plan.policy.save_every,
        note=NOTE[wanted.algorithm],
    )
    best_step = state.best.step if state.best is not None else ended.step
    metrics = training.figures(ended, parted) | {
        "stopped_by_alarm": bool(state.values.get("stopped_by_alarm", False)),
        "best_step": best_step,
    }
    card = wanted.card("Policy", {"algorithm": wanted.algorithm, "training": settings}, metrics)

    def write(aside: Path) -> None:
        saving.save_policy(roles, aside, role=POLICY)

    folder.publish(card, write)


def _begin(
    wanted: Wanted,
    roles: Roles,
    prompts: tuple[Sequence[PromptItem], Sequence[PromptItem]],
    reward: AdapterReward,
    normaliser: Normaliser,
    state: TrainingState,
) -> tuple[dict[str, Any], Iterator[StepReport]]:
    """Prepare the roles of the algorithm; return its settings and its loop."""
    train, heldout = prompts
    steps = wanted.plan.policy.steps(len(train)).total
    own = jobs.config_of(wanted.plan, roles, normaliser, steps)
    if wanted.algorithm == "ppo":
        same_shape = roles.settings["reward"] == own.lora
        ppo.prepare(roles, own, reward="reward" if same_shape else None)
        return own.to_json(), ppo.train(roles, train, heldout, reward, own, state)
    if wanted.algorithm == "rloo":
        several = RlooConfig(wanted.samples, own)
        rloo.prepare(roles, several)
        return several.to_json(), rloo.train(roles, train, heldout, reward, several, state)
    config = _best_of_n(wanted, own)
    source = SFT if roles.has_adapter(SFT) else None
    roles.add_adapter(POLICY, own.lora, init_from=source, seed=own.seed)
    return config.to_json(), best_of_n.train(roles, train, reward, config, state)


def _best_of_n(wanted: Wanted, own: PpoConfig) -> BestOfNConfig:
    plan = wanted.plan.policy
    sampling = SamplingConfig(
        n=wanted.samples,
        max_new_tokens=own.max_new_tokens,
        temperature=own.temperature,
        seed=own.seed,
        batch_size=wanted.plan.sampling.batch_size,
    )
    imitation = SftConfig(
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        max_steps=plan.max_steps,
        lora=LoraSettings(own.lora.r, own.lora.alpha, own.lora.targets),
        seed=own.seed,
    )
    return BestOfNConfig(sampling, imitation)
