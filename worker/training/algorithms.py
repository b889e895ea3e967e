"""The loops that train a policy, one for each algorithm of a plan.

All share the reward, the held-out evaluations, the stop rules and the choice of the best weights.
The settings that each needs beyond these are built here from the plan.
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
from worker.rlhf.policy.fresh_votes import FreshVotes
from worker.rlhf.policy.policy_watch import PolicyWatch
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.policy.rloo import RlooConfig
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.served_policy import ServedPolicy
from worker.rlhf.sft.finetuning import SftConfig

NOTES = {
    Algorithm.PPO: "training the policy",
    Algorithm.RLOO: "training the policy",
    Algorithm.DPO: "fitting the preferences",
    Algorithm.BEST_OF_N: "imitating the winners",
}
"""The note shown with a run's progress."""


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """The inputs of every algorithm; only DPO reads the rankings."""

    roles: Roles
    prompts: Sequence[PromptItem]
    heldout: Sequence[PromptItem]
    reward: RewardFunction
    rankings: Sequence[RankedPrompt]
    state: TrainingState
    fresh: FreshVotes | None = None  # None: people are not asked while it trains
    served: ServedPolicy | None = None  # None: the policy is sampled here


@dataclass(frozen=True, slots=True)
class PreparedPolicy:
    """A policy ready to be trained: its settings and its loop, not yet started."""

    settings: dict[str, Any]
    loop: Iterator[StepReport]


def prepare(
    plan: RoundPlan, inputs: PolicyInputs, own: PpoConfig, *, sampled: str = REFERENCE
) -> PreparedPolicy:
    """Add the roles that the plan's algorithm trains, and return its loop.

    Args:
        plan: of the round.
        inputs: models and data.
        own: PPO's settings from the plan; the other algorithms use some of them.
        sampled: the role whose responses are compared in best-of-n.

    """
    match plan.policy.algorithm:
        case Algorithm.PPO:
            return _ppo(inputs, own)
        case Algorithm.RLOO:
            return _rloo(plan, inputs, own)
        case Algorithm.DPO:
            return _dpo(plan, inputs, own)
        case Algorithm.BEST_OF_N:
            return _best_of_n(plan, inputs, own, sampled)


def _ppo(inputs: PolicyInputs, own: PpoConfig) -> PreparedPolicy:
    same_shape = inputs.roles.settings.get("reward") == own.lora
    if not same_shape:  # a new value head predicts the normalized reward directly
        own = replace(own, value_scale=Scale())
    ppo.prepare(inputs.roles, own, reward="reward" if same_shape else None)
    loop = ppo.train(
        inputs.roles,
        inputs.prompts,
        inputs.heldout,
        inputs.reward,
        own,
        inputs.state,
        inputs.fresh,
        inputs.served,
    )
    return PreparedPolicy(own.to_json(), loop)


def _rloo(plan: RoundPlan, inputs: PolicyInputs, own: PpoConfig) -> PreparedPolicy:
    config = RlooConfig(plan.policy.samples, own)
    rloo.prepare(inputs.roles, config)
    loop = rloo.train(
        inputs.roles,
        inputs.prompts,
        inputs.heldout,
        inputs.reward,
        config,
        inputs.state,
        inputs.fresh,
        inputs.served,
    )
    return PreparedPolicy(config.to_json(), loop)


def _dpo(plan: RoundPlan, inputs: PolicyInputs, own: PpoConfig) -> PreparedPolicy:
    config = replace(dpo_config(plan, own.lora), token_budget=own.token_budget)
    dpo.prepare(inputs.roles, config)
    loop = dpo.train(inputs.roles, inputs.rankings, config, inputs.state, _watch(inputs, own))
    return PreparedPolicy(config.to_json(), loop)


def dpo_config(plan: RoundPlan, lora: LoraSettings) -> DpoConfig:
    """Return the settings of DPO; the KL coefficient is its beta."""
    return DpoConfig(
        beta=plan.policy.kl_coefficient,
        epochs=plan.policy.epochs or 1,
        batch_rankings=plan.policy.batch_size,
        max_steps=plan.policy.max_steps,
        learning_rate=plan.policy.learning_rate,
        smoothing=plan.reward.label_smoothing,
        max_tokens=plan.reward.max_tokens,
        seed=plan.seed,
        lora=lora,
    )


def _best_of_n(
    plan: RoundPlan, inputs: PolicyInputs, own: PpoConfig, sampled: str
) -> PreparedPolicy:
    config = best_of_n_config(plan, own)
    best_of_n.prepare(inputs.roles, config)
    loop = best_of_n.train(
        inputs.roles,
        inputs.prompts,
        inputs.reward,
        config,
        inputs.state,
        _watch(inputs, own),
        sampled=sampled,
    )
    return PreparedPolicy(config.to_json(), loop)


def best_of_n_config(plan: RoundPlan, own: PpoConfig) -> BestOfNConfig:
    """Return how winners are chosen and imitated."""
    sampling_config = SamplingConfig(
        n=plan.policy.samples,
        max_new_tokens=own.max_new_tokens,
        temperature=own.temperature,
        seed=own.seed,
        batch_size=plan.sampling.batch_size,
    )
    imitation = SftConfig(
        epochs=plan.policy.epochs or 1,
        batch_size=plan.policy.batch_size,
        learning_rate=plan.policy.learning_rate,
        max_steps=plan.policy.max_steps,
        lora=own.lora,
        seed=own.seed,
        micro_tokens=plan.token_budget or SftConfig().micro_tokens,
    )
    return BestOfNConfig(sampling_config, imitation, plan.policy.kl_coefficient)


def _watch(inputs: PolicyInputs, own: PpoConfig) -> PolicyWatch:
    return PolicyWatch(
        inputs.roles,
        inputs.heldout,
        inputs.reward,
        own.watch,
        own.sampling,
        own.forward,
        inputs.state,
        inputs.fresh,
    )
