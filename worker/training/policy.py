"""The policy: trained against a reward by PPO, RLOO or best-of-n, or on judgments by DPO."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from app.domain.plan import Algorithm, PolicyPlan, RoundPlan
from app.errors import Invalid
from worker.rlhf.core.examples import PromptItem, RankedPrompt
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.roles import POLICY, REFERENCE, SFT, LoraSettings, Roles
from worker.rlhf.policy import stopping
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.policy.stopping import Rule
from worker.rlhf.reward.normalizer import Normalizer
from worker.rlhf.reward.scoring import RewardFunction
from worker.training import algorithms, token_ids, trained_parameters, training_loop
from worker.training.algorithms import PolicyInputs, PreparedPolicy
from worker.training.layout import PREVIOUS
from worker.training.training_loop import LoopEnd, RunPlace

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PromptRoom:
    """Prompts that leave room for a response, and the counts of those that do not."""

    prompts: Sequence[PromptItem]
    heldout: Sequence[PromptItem]
    left_out: Mapping[str, Any] = field(default_factory=dict)

    def first(self, count: int) -> "PromptRoom":
        """Return only the first prompts; the rest are counted as beyond the plan."""
        beyond = len(self.prompts) - count
        left_out = {**self.left_out, "prompts_beyond_plan": beyond}
        return replace(self, prompts=self.prompts[:count], left_out=left_out)


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """A trained policy in memory: the settings of its training, and its metrics."""

    settings: dict[str, Any]
    metrics: dict[str, Any]
    end: LoopEnd

    def save(self, roles: Roles, folder: Path) -> None:
        """Write the weights."""
        saving.save_policy(roles, folder, role=POLICY)


def train(
    place: RunPlace,
    roles: Roles,
    plan: RoundPlan,
    room: PromptRoom,
    reward: RewardFunction,
    normaliser: Normalizer,
    rankings: Sequence[RankedPrompt] = (),
    *,
    continue_from: Path | None = None,
    save_every: int | None = None,
) -> PolicyResult | None:
    """Train a policy; keep the best weights seen before any alarm.

    Args:
        place: where the run takes place.
        roles: the base with the reward's adapters, and the SFT adapter if any.
        plan: of the round.
        room: the prompts.
        reward: what the policy is rewarded for.
        normaliser: the reward model's scale.
        rankings: judgments, which only DPO reads.
        continue_from: the policy to initialize from; None: the SFT model.
        save_every: steps between two saves; None: the plan's.

    Returns:
        The policy; None in a process that is not the first of several.
    """
    # DPO counts only its rankings, and may have no prompt.
    steps = plan.policy.steps(max(1, len(room.prompts)), len(rankings)).total
    config = config_of(plan, roles, normaliser, steps)
    state = TrainingState()
    training_loop.restore(place, state)
    inputs = PolicyInputs(roles, room.prompts, room.heldout, reward, rankings, state)
    prepared = _prepare(plan, inputs, config, continue_from)
    if plan.checkpoints_gradients:
        roles.checkpoint_gradients(True)
    end = training_loop.follow(
        place,
        prepared.loop,
        state,
        save_every=save_every or plan.policy.save_every,
        keeps_samples=partial(_keeps_samples, plan.policy),
        note=algorithms.NOTES[plan.policy.algorithm],
    )
    place.leave_team()
    if not place.is_first:
        return None
    trained_parameters.say(place, roles, [POLICY])
    best_step = state.best.step if state.best is not None else end.step
    metrics: dict[str, Any] = {
        **end.metrics,
        **room.left_out,
        "steps": end.step,
        "stop_reason": stop_reason(end, best_step),
        "stopped_by_alarm": bool(state.values.get("stopped_by_alarm", False)),
        "best_step": best_step,
    }
    return PolicyResult(prepared.settings, metrics, end)


def with_room(
    place: RunPlace,
    roles: Roles,
    plan: RoundPlan,
    prompts: Sequence[PromptItem],
    heldout: Sequence[PromptItem],
) -> PromptRoom:
    """Return the prompts that leave room for a response; count and name those that do not.

    Raises:
        Invalid: no prompt to train on leaves room for a response.
    """
    tokens = plan.sampling.max_new_tokens
    kept, kept_heldout = (token_ids.that_fit(items, roles, tokens) for items in (prompts, heldout))
    reason = token_ids.without_room("training", prompts, kept, roles, tokens)
    if not kept and plan.policy.algorithm is not Algorithm.DPO:
        raise Invalid(reason or "there is no prompt to train on")
    left_out: dict[str, Any] = {
        "prompts_without_room": len(prompts) - len(kept),
        "heldout_prompts_without_room": len(heldout) - len(kept_heldout),
    }
    for kind, count in zip(("training", "held-out"), left_out.values(), strict=True):
        if count:
            place.say(f"{count} {kind} prompts leave no room for {tokens} new tokens; left out.")
    heldout_reason = token_ids.without_room("held-out", heldout, kept_heldout, roles, tokens)
    if heldout_reason is not None:
        log.warning("no held-out prompt to measure on", run=place.title, reason=heldout_reason)
        left_out["heldout_reason"] = heldout_reason
    return PromptRoom(kept, kept_heldout, left_out)


def config_of(plan: RoundPlan, roles: Roles, normaliser: Normalizer, steps: int) -> PpoConfig:
    """Return the loop's settings; new adapters take the shape of existing ones."""
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
            rules=stop_rules(policy),
        ),
        lora=_shape(roles, policy),
    )


def _shape(roles: Roles, policy: PolicyPlan) -> LoraSettings:
    own = LoraSettings(policy.lora.r, policy.lora.alpha)
    return roles.settings.get(SFT, roles.settings.get("reward", own))


def scale_at(normaliser: Normalizer, penalty: float) -> Normalizer:
    """Return a reward model's scale at the uncertainty penalty of the policy's plan.

    Raises:
        Invalid: the scale at this penalty is unknown.
    """
    try:
        return normaliser.at(penalty)
    except ValueError as error:
        raise Invalid(str(error)) from error


def stop_rules(policy: PolicyPlan) -> tuple[Rule, ...]:
    """Return the reasons to stop: the plan's own, and the signs of over-optimization."""
    rules: list[Rule] = [
        stopping.HeldoutPeak(),
        stopping.Disagreement(),
        stopping.LengthDrift(),
        stopping.EntropyCollapse(),
    ]
    if policy.kl_budget is not None:
        rules.append(stopping.KlBudget(policy.kl_budget))
    if policy.reward_target is not None:
        rules.append(stopping.RewardTarget(policy.reward_target))
    if policy.plateau is not None:
        rules.append(stopping.Plateau(policy.plateau))
    return tuple(rules)


def stop_reason(end: LoopEnd, best_step: int) -> str:
    """Return why the run ended, and which weights are kept if they are not the last."""
    if best_step == end.step:
        return end.reason
    kept = f"those of step {best_step}" if best_step else "the initial ones"
    return f"{end.reason}; the best weights on held-out prompts are {kept}, which are kept"


def _keeps_samples(policy: PolicyPlan, report: StepReport) -> bool:
    return report.stop_reason is not None or policy.keeps_samples(report.step, report.steps_total)


def _prepare(
    plan: RoundPlan, inputs: PolicyInputs, config: PpoConfig, continue_from: Path | None
) -> PreparedPolicy:
    """Add the roles to train; initialize the policy from an earlier one if requested."""
    if continue_from is None:
        return algorithms.prepare(plan, inputs, config, sampled=REFERENCE)
    saving.load_policy(inputs.roles, continue_from, PREVIOUS)
    prepared = algorithms.prepare(plan, inputs, config, sampled=PREVIOUS)
    inputs.roles.copy_role(PREVIOUS, POLICY)
    return prepared
