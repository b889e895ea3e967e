"""PPO on a tiny model: ratios, gradients, what changes, and resuming to the bit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import near, tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from worker.rlhf.core import batches
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.policy import ppo, rollout, stopping
from worker.rlhf.policy.metric_sums import MetricSums
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig, Targets, Update
from worker.rlhf.policy.rollout import Rollout
from worker.rlhf.reward.normalizer import Scale

RATIO_TOLERANCE = 1e-4
ROLES = ("policy", "value")
CONFIG = PpoConfig(
    steps=4,
    episodes=8,
    epochs=2,
    minibatches=2,
    policy_learning_rate=1e-2,
    value_learning_rate=1e-2,
    max_new_tokens=6,
    autocast=False,
    lora=tiny.LORA,
    watch=WatchConfig(every=2, prompts=4, rules=()),
)


def prepared(config: PpoConfig = CONFIG) -> Roles:
    roles = Roles(tiny.loaded())
    ppo.prepare(roles, config, reward=None)
    return roles


def collect(roles: Roles, config: PpoConfig = CONFIG) -> Rollout:
    return rollout.collect(
        roles, prompts(8), LikesOneSide(), config.sampling, config.forward, with_values=True
    )


def run(
    roles: Roles, config: PpoConfig = CONFIG, state: TrainingState | None = None
) -> list[StepReport]:
    state = state or TrainingState()
    return list(ppo.train(roles, prompts(20), prompts(4, start=50), LikesOneSide(), config, state))


def weights_of(roles: Roles, *names: str) -> dict[str, Tensor]:
    return {
        key: parameter.detach().clone()
        for name in names
        for key, parameter in roles.named_parameters_of(name).items()
    }


def gradients(roles: Roles, config: PpoConfig, targets: Targets) -> dict[str, Tensor]:
    Update(roles, config, TrainingState()).accumulate(targets, range(8), MetricSums())
    found = {}
    for role in ROLES:
        for name, parameter in roles.named_parameters_of(role).items():
            if parameter.grad is not None:
                found[name] = parameter.grad.clone()
                parameter.grad = None
    return found


def moved_targets(roles: Roles, config: PpoConfig = CONFIG) -> Targets:
    """Return targets of a rollout from which the policy has moved since, so that clips matter."""
    targets = ppo.targets_of(collect(roles, config), config, coefficient=0.1)
    move(roles, alpha=0.03)
    return targets


def move(roles: Roles, alpha: float) -> None:
    """Add noise to whatever is trained."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for role in ROLES:
            for parameter in roles.parameters_of(role):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=alpha)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_first_minibatchs_ratio_is_one_wherever_the_policy_is(temperature: float) -> None:
    roles, config = prepared(), replace(CONFIG, temperature=temperature)
    move(roles, alpha=0.1)
    batch = collect(roles, config)
    targets = ppo.targets_of(batch, config, coefficient=0.1)
    assert (batch.logprobs - batch.reference).abs().max() > 0.1
    sums = MetricSums()
    Update(roles, config, TrainingState()).accumulate(targets, range(8), sums)
    assert sums.means()["policy/ratio_deviation"] < RATIO_TOLERANCE
    assert sums.means()["policy/clip_fraction"] == 0.0
    for part in rollout.micro_batches(roles, batch.episodes, [5, 0, 3], config.forward):
        found, _ = rollout.token_logprobs(roles, "policy", part, config.forward)
        ratio = (found - targets.of(part, batch.logprobs)).exp()
        assert (ratio - 1.0).abs().max() < RATIO_TOLERANCE


def test_kl_to_the_reference_is_zero_before_the_first_step_and_not_after() -> None:
    reports = run(prepared())
    assert reports[0].metrics["kl/k1"] == 0.0
    assert reports[0].metrics["kl/k3"] == 0.0
    assert reports[1].metrics["kl/k3"] > 0.0


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_samplers_log_probs_are_those_of_the_training_forward(temperature: float) -> None:
    metrics = run(prepared(), replace(CONFIG, steps=1, temperature=temperature))[0].metrics
    assert metrics["policy/sampler_deviation"] < RATIO_TOLERANCE


def test_gradients_do_not_depend_on_the_micro_batches() -> None:
    roles = prepared()
    targets = moved_targets(roles)
    whole = gradients(roles, CONFIG, targets)
    for budget in (1, 25, 60):
        parts = gradients(roles, replace(CONFIG, token_budget=budget), targets)
        assert parts.keys() == whole.keys()
        near.assert_same(parts.values(), whole.values())


@pytest.mark.parametrize("model", [tiny.loaded, tiny.loaded_gpt2], ids=["llama", "gpt2"])
def test_log_probs_do_not_depend_on_padding(model: Callable[[], LoadedModel]) -> None:
    roles = Roles(model())
    roles.add_adapter("policy", tiny.LORA)
    sequences = [(tiny.token_ids(4)[0], tiny.token_ids(5)[0]), (tiny.token_ids(2)[0], (7, 8))]
    found = []
    sides: tuple[batches.PaddingSide, ...] = ("right", "left")
    for side, width in product(sides, (9, 20)):
        batch = batches.pad(sequences, 0, side=side, width=width)
        found.append(rollout.token_logprobs(roles, "policy", batch, CONFIG.forward)[0])
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=1e-5)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_reach_policy_and_value_together_as_each_alone(checkpointed: bool) -> None:
    roles = prepared()
    targets = moved_targets(roles)
    together = gradients(roles, CONFIG, targets)
    for role in ROLES:
        mine = [name for name in together if name.startswith(f"{role}/")]
        assert mine
        assert all(together[name].any() for name in mine), role
    roles.checkpoint_gradients(checkpointed)
    (batch,) = rollout.micro_batches(roles, targets.rollout.episodes, range(8), CONFIG.forward)
    for role, part in (("policy", ppo.policy_loss), ("value", ppo.value_loss)):
        with roles.role(role):
            total, _ = part(roles, targets, batch, CONFIG)
            parameters = roles.named_parameters_of(role)
            alone = torch.autograd.grad(
                total / int(batch.is_response.sum()), list(parameters.values())
            )
        near.assert_same((together[name] for name in parameters), alone)


def test_two_forwards_in_train_mode_are_equal() -> None:
    roles = prepared()
    move(roles, alpha=0.1)  # a fresh adapter adds nothing, whatever it drops
    episodes = collect(roles).episodes
    roles.causal.train()
    (batch,) = rollout.micro_batches(roles, episodes, range(8), CONFIG.forward)
    one, other = (rollout.token_logprobs(roles, "policy", batch, CONFIG.forward)[0] for _ in "ab")
    assert torch.equal(one, other)


def test_only_policy_and_value_change() -> None:
    roles = Roles(tiny.loaded())
    roles.add_adapter("reward", tiny.LORA, seed=9)
    roles.add_head("reward", seed=9)
    ppo.prepare(roles, CONFIG)
    kept, moved = weights_of(roles, BASE, "reward"), weights_of(roles, *ROLES)
    run(roles, replace(CONFIG, watch=WatchConfig(rules=(), every=100, prompts=0)))
    after = weights_of(roles, BASE, "reward", *ROLES)
    assert _equal({name: after[name] for name in kept}, kept)
    assert not any(torch.equal(after[name], weight) for name, weight in moved.items())


def test_the_value_role_starts_as_the_reward_model() -> None:
    roles = tiny.roles("reward", heads=("reward",))
    ppo.prepare(roles, CONFIG)
    batch = batches.pad([(tiny.token_ids(4)[0], tiny.token_ids(5)[0])], 0)
    with torch.no_grad():
        hidden = {}
        for role in ("reward", "value"):
            with roles.role(role):
                hidden[role] = roles.score(role, roles.hidden(batch.input_ids))
    assert torch.equal(hidden["reward"], hidden["value"])


def test_values_of_a_reward_models_head_are_on_the_scale_of_the_normalized_reward() -> None:
    roles = tiny.roles("reward", heads=("reward",))
    ppo.prepare(roles, CONFIG)
    raw = collect(roles)
    scaled = collect(roles, replace(CONFIG, value_scale=Scale(3.0, 2.0)))
    is_response = raw.episodes.is_response
    expected = (raw.values[is_response] - 3.0) / 2.0
    torch.testing.assert_close(scaled.values[is_response], expected)


def test_learning_rates_fall_linearly_over_the_steps_for_policy_and_value() -> None:
    roles, state = prepared(), TrainingState()
    config = replace(CONFIG, value_learning_rate=3e-3)
    update = Update(roles, config, state)
    rates: dict[str, list[float]] = {role: [] for role in ROLES}
    for _ in range(config.steps):
        metrics = update.step(ppo.targets_of(collect(roles), config, coefficient=0.1))
        state.step += 1
        for role, optimizer in update.optimizers.items():
            rates[role].append(optimizer.param_groups[0]["lr"])
        assert metrics["learning_rate"] == rates["policy"][-1]
    shares = [1.0, 0.75, 0.5, 0.25]
    assert rates["policy"] == pytest.approx(
        [config.policy_learning_rate * share for share in shares]
    )
    assert rates["value"] == pytest.approx([config.value_learning_rate * share for share in shares])


def test_a_shared_trunk_gets_the_sum_of_both_gradients() -> None:
    shared = replace(CONFIG, value_trunk="policy")
    roles = prepared(shared)
    assert not roles.has_adapter("value")
    targets = moved_targets(roles, shared)
    together = gradients(roles, shared, targets)
    (batch,) = rollout.micro_batches(roles, targets.rollout.episodes, range(8), shared.forward)
    total = torch.zeros(())
    for part in (ppo.policy_loss, ppo.value_loss):
        total = total + part(roles, targets, batch, shared)[0]
    names = {**roles.named_parameters_of("policy"), **roles.named_parameters_of("value")}
    apart = torch.autograd.grad(total / int(batch.is_response.sum()), list(names.values()))
    near.assert_same((together[name] for name in names), apart)


def test_rewards_pay_kl_everywhere_and_the_score_at_the_last_token() -> None:
    roles = prepared()
    batch = collect(roles)
    shifted = replace(batch, reference=batch.logprobs - 0.5)
    rewards = ppo.token_rewards(shifted, CONFIG, coefficient=0.2)
    episodes = batch.episodes
    for row, length in enumerate(episodes.lengths.tolist()):
        missing = 0.0 if episodes.completions[row].finish_reason == "eos" else 1.0
        final = float(batch.scores.normalized[row]) - missing - 0.1
        assert rewards[row, : length - 1].tolist() == pytest.approx([-0.1] * (length - 1))
        assert float(rewards[row, length - 1]) == pytest.approx(final, abs=1e-6)
        assert not rewards[row, length:].any()


def test_scores_are_clipped_before_the_penalty() -> None:
    batch = collect(prepared())
    wild = replace(batch, scores=replace(batch.scores, normalized=torch.full((8,), 1e6)))
    rewards = ppo.token_rewards(wild, CONFIG, coefficient=0.0)
    finished = batch.episodes.is_finished.float()
    assert rewards.sum(1).tolist() == pytest.approx((9.0 + finished).tolist())


@pytest.mark.parametrize("trunk", ["value", "policy"])
def test_the_policy_comes_to_do_what_is_rewarded(trunk: Literal["value", "policy"]) -> None:
    config = replace(
        CONFIG,
        steps=10,
        episodes=32,
        policy_learning_rate=3e-2,
        kl_coefficient=0.0,
        value_trunk=trunk,
        watch=WatchConfig(prompts=0, rules=()),
    )
    scores = [each.metrics["reward/score"] for each in run(prepared(config), config)]
    assert fmean(scores[-3:]) > fmean(scores[:3]) + 0.15


def test_a_step_draws_from_its_own_seed_and_uses_prompts_evenly() -> None:
    items = prompts(10)
    keys = [item.key for step in (1, 2, 3, 4, 5) for item in rollout.draw(items, step, 4, seed=1)]
    assert sorted(keys) == sorted(2 * [item.key for item in items])
    again = [item.key for item in rollout.draw(items, 3, 4, seed=1)]
    assert again == keys[8:12]


def test_the_same_prompt_gets_other_responses_in_another_step() -> None:
    roles = prepared()
    drawn = rollout.draw(prompts(4), 1, 4, seed=0)
    responses = [
        [
            completion.token_ids
            for completion in rollout.sample(
                roles, drawn, rollout.seeded(CONFIG.sampling, 0, step)
            ).completions
        ]
        for step in (1, 2, 2)
    ]
    assert responses[0] != responses[1]
    assert responses[1] == responses[2]


def test_a_prompt_twice_in_a_step_gets_two_responses() -> None:
    drawn = rollout.draw(prompts(2), 1, 4, seed=0)
    assert len({item.key for item in drawn}) == 4
    episodes = rollout.sample(prepared(), drawn, CONFIG.sampling)
    assert len({each.token_ids for each in episodes.completions}) == 4


def test_the_best_weights_are_in_the_model_at_the_end() -> None:
    state, roles = TrainingState(), prepared()
    reports = run(roles, replace(CONFIG, policy_learning_rate=0.5), state)
    assert state.best is not None
    assert reports[-1].metrics["best/step"] == state.best.step
    assert _equal(weights_of(roles, *ROLES), state.best.weights)
    metrics = [each.metrics for each in reports]
    objectives = [each["heldout/objective"] for each in metrics if "heldout/objective" in each]
    assert state.best.value >= max(objectives)


def test_an_alarm_ends_the_run_and_its_weights_are_not_the_best() -> None:
    rules = (stopping.KlBudget(sqrt_kl=0.01),)
    config = replace(CONFIG, watch=WatchConfig(every=1, prompts=4, rules=rules))
    state = TrainingState()
    reports = run(prepared(), config, state)
    assert len(reports) < CONFIG.steps
    assert reports[-1].stop_reason is not None
    assert reports[-1].stop_reason.startswith("KL budget")
    assert state.values["stop_reason"] == reports[-1].stop_reason
    assert state.values["stopped_by_alarm"] is True
    assert state.best is not None
    assert state.best.step < reports[-1].step


def test_an_adaptive_coefficient_moves_from_step_to_step() -> None:
    config = replace(CONFIG, kl_control="adaptive", kl_target_nats=1.0, kl_horizon=80.0)
    reports = run(prepared(), config)
    assert reports[0].metrics["kl/coefficient"] == 0.1
    assert reports[1].metrics["kl/coefficient"] == pytest.approx(0.1 * (1 - 0.2 * 8 / 80))


def test_evaluations_are_compared_at_a_fixed_kl_coefficient_while_it_adapts() -> None:
    config = replace(CONFIG, kl_control="adaptive", kl_target_nats=1e-6, kl_horizon=8.0)
    reports = [each for each in run(prepared(), config) if "heldout/reward" in each.metrics]
    assert reports[-1].metrics["kl/coefficient"] != config.kl_coefficient
    for each in reports:
        price = config.kl_coefficient * each.metrics["heldout/kl"]
        assert each.metrics["heldout/objective"] == pytest.approx(
            each.metrics["heldout/reward"] - price
        )


def test_approximate_kl_is_that_of_the_old_policys_tokens() -> None:
    roles = prepared()
    targets = moved_targets(roles)
    sums = MetricSums()
    Update(roles, CONFIG, TrainingState()).accumulate(targets, range(8), sums)
    is_response = targets.rollout.episodes.is_response
    now = torch.zeros(is_response.shape)
    for part in rollout.micro_batches(roles, targets.rollout.episodes, range(8), CONFIG.forward):
        found, _ = rollout.token_logprobs(roles, "policy", part, CONFIG.forward)
        rollout.put(now, targets.rollout.episodes, part, found.detach())
    old = targets.rollout.logprobs
    expected = ((now - old).exp() - 1.0 - (now - old))[is_response].mean()
    assert expected > 1e-4
    assert sums.means()["policy/approx_kl"] == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("episodes", 0), ("temperature", 0.0), ("gamma", 1.5), ("kl_coefficient", -0.1)],
)
def test_settings_that_no_run_can_use_are_refused(setting: str, value: float) -> None:
    changes: dict[str, Any] = {setting: value}
    with pytest.raises(ValueError, match=f"{setting} must .* got {value}"):
        replace(CONFIG, **changes)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_killed_run_resumes_to_bit_equal_metrics_and_weights(
    tmp_path: Path, stop_after: int
) -> None:
    config = replace(CONFIG, kl_control="adaptive", kl_target_nats=1.0, kl_horizon=80.0)
    roles = prepared(config)
    whole = run(roles, config)

    killed, state = prepared(config), TrainingState()
    loop = ppo.train(killed, prompts(20), prompts(4, start=50), LikesOneSide(), config, state)
    begun = list(islice(loop, stop_after))
    state.save(tmp_path)
    fresh, state = prepared(replace(config, seed=5)), TrainingState()
    state.restore(tmp_path)
    resumed = run(fresh, config, state)

    assert _untimed(begun + resumed) == _untimed(whole)
    assert _equal(weights_of(fresh, *ROLES), weights_of(roles, *ROLES))
    assert begun[-1].samples == whole[stop_after - 1].samples


def test_no_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        next(ppo.train(prepared(), [], [], LikesOneSide(), CONFIG, TrainingState()))


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _untimed(reports: Sequence[StepReport]) -> list[dict[str, float]]:
    return [
        {
            name: value
            for name, value in each.metrics.items()
            if not name.startswith(("time/", "speed/"))
        }
        for each in reports
    ]
