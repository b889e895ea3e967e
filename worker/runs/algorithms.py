"""The loops that train a round's policy, one for each algorithm of a plan.

All share the reward, the held-out looks, the reasons to stop and the choice of the best weights.
What they need beyond these is built here out of the plan.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.domain.plan import Algorithm, RoundPlan
from worker.rlhf.core.examples import PromptItem, RankedPrompt
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import REFERENCE, LoraSettings, Roles
from worker.rlhf.policy import best_of_n, dpo, ppo, rloo
from worker.rlhf.policy.best_of_n import BestOfNConfig
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.policy.policy_watch import PolicyWatch
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.policy.rloo import RlooConfig
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft.finetuning import SftConfig

NOTES = {
    Algorithm.PPO: "practising",
    Algorithm.RLOO: "practising",
    Algorithm.DPO: "preferring what people preferred",
    Algorithm.BEST_OF_N: "imitating the winners",
}
"""What a run says beside its progress."""


@dataclass(frozen=True, slots=True)
class Given:
    """What every algorithm may use; DPO alone reads the rankings."""

    roles: Roles
    prompts: Sequence[PromptItem]
    heldout: Sequence[PromptItem]
    reward: RewardFunction
    rankings: Sequence[RankedPrompt]
    state: TrainingState


@dataclass(frozen=True, slots=True)
class Prepared:
    """A policy made ready for training: its settings and its loop, which has not begun."""

    settings: dict[str, Any]
    loop: Iterator[StepReport]


def prepare(plan: RoundPlan, given: Given, own: PpoConfig, *, sampled: str = REFERENCE) -> Prepared:
    """Add the roles that the plan's algorithm trains, and return its loop.

    Args:
        plan: of the round.
        given: models and data.
        own: PPO's settings of that plan, of which the others take their part.
        sampled: the role whose answers compete in best of n.

    """
    match plan.policy.algorithm:
        case Algorithm.PPO:
            return _ppo(given, own)
        case Algorithm.RLOO:
            return _rloo(plan, given, own)
        case Algorithm.DPO:
            return _dpo(plan, given, own)
        case Algorithm.BEST_OF_N:
            return _best_of_n(plan, given, own, sampled)


def _ppo(given: Given, own: PpoConfig) -> Prepared:
    same_shape = given.roles.settings["reward"] == own.lora
    if not same_shape:  # a head of its own speaks of the normalised reward at once
        own = replace(own, value_scale=Scale())
    ppo.prepare(given.roles, own, reward="reward" if same_shape else None)
    loop = ppo.train(given.roles, given.prompts, given.heldout, given.reward, own, given.state)
    return Prepared(own.to_json(), loop)


def _rloo(plan: RoundPlan, given: Given, own: PpoConfig) -> Prepared:
    config = RlooConfig(plan.policy.samples, own)
    rloo.prepare(given.roles, config)
    loop = rloo.train(given.roles, given.prompts, given.heldout, given.reward, config, given.state)
    return Prepared(config.to_json(), loop)


def _dpo(plan: RoundPlan, given: Given, own: PpoConfig) -> Prepared:
    config = dpo_config(plan, own.lora)
    dpo.prepare(given.roles, config)
    loop = dpo.train(given.roles, given.rankings, config, given.state, _watch(given, own))
    return Prepared(config.to_json(), loop)


def dpo_config(plan: RoundPlan, lora: LoraSettings) -> DpoConfig:
    """Return the settings of DPO; the price of KL is its beta."""
    return DpoConfig(
        beta=plan.policy.kl_coefficient,
        epochs=plan.policy.epochs,
        batch_rankings=plan.policy.batch_size,
        max_steps=plan.policy.max_steps,
        learning_rate=plan.policy.learning_rate,
        smoothing=plan.reward.label_smoothing,
        max_tokens=plan.reward.max_tokens,
        seed=plan.seed,
        lora=lora,
    )


def _best_of_n(plan: RoundPlan, given: Given, own: PpoConfig, sampled: str) -> Prepared:
    config = best_of_n_config(plan, own)
    best_of_n.prepare(given.roles, config)
    loop = best_of_n.train(
        given.roles,
        given.prompts,
        given.reward,
        config,
        given.state,
        _watch(given, own),
        sampled=sampled,
    )
    return Prepared(config.to_json(), loop)


def best_of_n_config(plan: RoundPlan, own: PpoConfig) -> BestOfNConfig:
    """Return how winners are found and imitated."""
    drawn = SamplingConfig(
        n=plan.policy.samples,
        max_new_tokens=own.max_new_tokens,
        temperature=own.temperature,
        seed=own.seed,
        batch_size=plan.sampling.batch_size,
    )
    imitation = SftConfig(
        epochs=plan.policy.epochs,
        batch_size=plan.policy.batch_size,
        learning_rate=plan.policy.learning_rate,
        max_steps=plan.policy.max_steps,
        lora=own.lora,
        seed=own.seed,
    )
    return BestOfNConfig(drawn, imitation, plan.policy.kl_coefficient)


def _watch(given: Given, own: PpoConfig) -> PolicyWatch:
    return PolicyWatch(
        given.roles,
        given.heldout,
        given.reward,
        own.watch,
        own.sampling,
        own.forward,
        given.state,
    )
