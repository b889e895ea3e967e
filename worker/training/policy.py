"""The policy: trained against a reward by PPO, RLOO or best-of-n, or on judgments by DPO."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import structlog

from app.domain import policy_looks
from app.domain.gates.learning import PolicyFigures
from app.domain.length_limits import LengthLimits
from app.domain.plan import Algorithm, PolicyPlan, RoundPlan
from app.domain.step_counts import LOOKS_SHARE
from app.errors import Invalid
from worker.rlhf.core.examples import PromptItem, RankedPrompt
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.roles import POLICY, REFERENCE, SFT, LoraSettings, Roles
from worker.rlhf.policy import stopping
from worker.rlhf.policy.fresh_votes import FreshPreference, FreshVotes
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.policy.stopping import Rule
from worker.rlhf.reward.normalizer import Normalizer
from worker.rlhf.reward.scoring import RewardFunction
from worker.training import (
    algorithms,
    served_sampling,
    token_budgets,
    token_ids,
    trained_parameters,
    training_loop,
)
from worker.training.algorithms import PolicyInputs, PreparedPolicy
from worker.training.layout import PREVIOUS
from worker.training.served_sampling import ServerAccess
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
    movement: PolicyFigures | None = None  # None: nothing was observed
    warnings: tuple[str, ...] = ()  # of the server that sampled it

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
    fresh: FreshVotes | None = None,
    lengths: LengthLimits | None = None,
    access: ServerAccess | None = None,
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
        fresh: asks people about the policy while it trains; None: there is nobody to ask.
        lengths: how much longer or shorter responses may become; None: the usual limits.
        access: to the server that samples PPO's and RLOO's responses; None: they are sampled here.

    Returns:
        The policy; None in a process that is not the first of several.
    """
    prompts = max(1, len(room.prompts))  # DPO counts only its rankings, and may have none
    steps = plan.policy.steps(prompts, len(rankings)).total
    config = config_of(plan, roles, normaliser, steps, heldout=len(room.heldout), lengths=lengths)
    config = _within_memory(config, roles, plan)
    _say_before(place, plan.policy, config.watch, room, steps, fresh, lengths)
    state = TrainingState()
    training_loop.restore(place, state)
    with served_sampling.serving(place, roles, plan.policy, state, steps, access) as served:
        inputs = PolicyInputs(
            roles, room.prompts, room.heldout, reward, rankings, state, fresh, served.policy
        )
        prepared = prepare(plan, inputs, config, continue_from)
        if plan.checkpoints_gradients:
            roles.checkpoint_gradients(True)
        end = _follow(place, prepared, state, plan.policy, config, save_every, roles)
    roles.gather()
    place.leave_team()
    if not place.is_first:
        return None
    trained_parameters.say(place, roles, [POLICY])
    best_step = state.best.step if state.best is not None else end.step
    metrics = {**_metrics(end, state, best_step), **room.left_out}
    moved = movement_of(state, best_step, plan.policy.epochs_for(prompts, len(rankings)))
    settings = prepared.settings | ({} if access is None else access.record)
    return PolicyResult(settings, metrics, end, moved, tuple(served.warnings))


def _say_before(
    place: RunPlace,
    plan: PolicyPlan,
    watch: WatchConfig,
    room: PromptRoom,
    steps: int,
    fresh: FreshVotes | None,
    lengths: LengthLimits | None,
) -> None:
    """Say what is known before the first step: limits of length, looks, and who is not asked."""
    if lengths is not None and lengths.remark:
        place.say(lengths.remark)
    _say_looks(place, plan, watch, len(room.heldout), steps)
    _say_unasked(place, plan, fresh, watch.prompts)


def _follow(
    place: RunPlace,
    prepared: PreparedPolicy,
    state: TrainingState,
    plan: PolicyPlan,
    config: PpoConfig,
    save_every: int | None,
    roles: Roles,
) -> LoopEnd:
    return training_loop.follow(
        place,
        prepared.loop,
        state,
        save_every=save_every or plan.save_every,
        keeps_samples=partial(_keeps_samples, plan, config.watch.every),
        note=algorithms.NOTES[plan.algorithm],
        room=roles.room,
    )


def _within_memory(config: PpoConfig, roles: Roles, plan: RoundPlan) -> PpoConfig:
    tokens = token_budgets.of(
        roles, plan.token_budget, config.token_budget, recomputes=plan.checkpoints_gradients
    )
    return replace(config, token_budget=tokens)


def _metrics(end: LoopEnd, state: TrainingState, best_step: int) -> dict[str, Any]:
    return {
        **of_kept_weights(end, state, best_step),
        "steps": end.step,
        "stop_reason": stop_reason(end, best_step),
        "stopped_by_alarm": bool(state.values.get("stopped_by_alarm", False)),
        "best_step": best_step,
    }


def of_kept_weights(end: LoopEnd, state: TrainingState, best_step: int) -> dict[str, float]:
    """Return the last metrics of a run, with those on held-out prompts of the weights it keeps.

    If these are of an earlier step, held-out metrics that are recorded of the last step only are
    left out: they would be of another model.
    """
    history = cast(list[dict[str, Any]], state.values.get("history") or [])
    seen = (entry for entry in history if entry["heldout_reward"] is not None)
    kept = next((entry for entry in seen if entry["step"] == best_step), None)
    if kept is None:
        return dict(end.metrics)
    if best_step == end.step:
        return {**end.metrics, "heldout_step": float(best_step)}
    others = {name: one for name, one in end.metrics.items() if not name.startswith("heldout/")}
    own = {
        "heldout_step": float(best_step),
        "heldout/reward": kept["heldout_reward"],
        "heldout/kl": kept["heldout_kl_nats"],
    }
    if state.best is not None:
        own["heldout/objective"] = state.best.value
    return {**others, **own}


def movement_of(state: TrainingState, best_step: int, epochs: int) -> PolicyFigures | None:
    """Return how far the kept weights have moved, from the history of the run.

    On held-out prompts if there are any, else by the training batches of the first and the last
    step.
    """
    history = cast(list[dict[str, Any]], state.values.get("history") or [])
    seen = [entry for entry in history if entry["heldout_reward"] is not None]
    if not seen and len(history) < 2:
        return None
    first = (seen or history)[0]
    kept = next((entry for entry in seen if entry["step"] == best_step), (seen or history)[-1])
    reward, kl = ("heldout_reward", "heldout_kl_nats") if seen else ("reward", "kl_nats")
    return PolicyFigures(state.step, best_step, kept[kl], first[reward], kept[reward], epochs)


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


def config_of(
    plan: RoundPlan,
    roles: Roles,
    normaliser: Normalizer,
    steps: int,
    *,
    heldout: int | None = None,
    lengths: LengthLimits | None = None,
) -> PpoConfig:
    """Return the loop's settings; new adapters take the shape of existing ones.

    `heldout` is the number of held-out prompts, if there may be fewer than the plan wants, and
    `lengths` the limits of length drift, if they are not the usual ones.
    """
    policy = plan.policy
    looks = policy_looks.plan(policy, steps, policy.heldout_prompts if heldout is None else heldout)
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
            every=looks.every,
            prompts=looks.prompts,
            rules=stop_rules(policy, lengths or LengthLimits()),
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


def stop_rules(policy: PolicyPlan, lengths: LengthLimits) -> tuple[Rule, ...]:
    """Return the reasons to stop: the plan's own, and the signs of over-optimization."""
    rules: list[Rule] = [
        stopping.HeldoutPeak(),
        stopping.Disagreement(),
        stopping.LengthDrift(lengths.longer, lengths.shorter),
        stopping.EntropyCollapse(),
    ]
    if policy.fresh_votes:
        rules.append(FreshPreference())
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


def _say_looks(
    place: RunPlace, policy: PolicyPlan, watch: WatchConfig, heldout: int, steps: int
) -> None:
    """Say that held-out prompts are left out of evaluations, or that these are further apart."""
    prompts = min(heldout, policy.heldout_prompts)
    if watch.prompts < prompts or watch.every > policy.evaluation_interval(steps):
        place.say(
            f"Evaluations during training use {watch.prompts} of {prompts} held-out prompts every "
            f"{watch.every} steps, to take at most {LOOKS_SHARE:.0%} of the training time; "
            "policy.evaluate_every sets the interval and lifts that limit."
        )


def _say_unasked(
    place: RunPlace, policy: PolicyPlan, fresh: FreshVotes | None, heldout: int
) -> None:
    """Say that people are asked about fewer prompts than the plan wants, and why."""
    if policy.fresh_votes and fresh is None:
        place.say("policy.fresh_votes is ignored: only a round of a project has labelers to ask.")
    elif policy.fresh_votes > heldout:
        place.say(
            f"People are asked about {heldout} held-out prompts per evaluation instead of "
            f"policy.fresh_votes = {policy.fresh_votes}: an evaluation uses no more; see "
            "policy.heldout_prompts and policy.evaluate_every."
        )


def _keeps_samples(policy: PolicyPlan, every: int, report: StepReport) -> bool:
    return report.stop_reason is not None or policy.keeps_samples(report.step, every)


def prepare(
    plan: RoundPlan, inputs: PolicyInputs, config: PpoConfig, continue_from: Path | None
) -> PreparedPolicy:
    """Add the roles to train; initialize the policy from an earlier one if requested."""
    if continue_from is None:
        return algorithms.prepare(plan, inputs, config, sampled=REFERENCE)
    saving.load_policy(inputs.roles, continue_from, PREVIOUS)
    prepared = algorithms.prepare(plan, inputs, config, sampled=PREVIOUS)
    inputs.roles.copy_role(PREVIOUS, POLICY)
    return prepared
