"""DPO: where it starts, what its gradients may depend on, that it learns and resumes."""

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import near, tiny
from tests.worker.rlhf.reward.test_reward_model import rankings
from worker.rlhf.core import batches
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import dpo, rollout
from worker.rlhf.policy.dpo import DpoConfig

TOLERANCE = 1e-5
CONFIG = DpoConfig(batch_rankings=4, learning_rate=1e-2, autocast=False, lora=tiny.LORA)


def prepared(config: DpoConfig = CONFIG) -> Roles:
    roles = Roles(tiny.loaded())
    dpo.prepare(roles, config)
    return roles


def gradients(roles: Roles, config: DpoConfig) -> tuple[float, list[Tensor]]:
    loss = dpo.accumulate(roles, rankings(6), config)["loss"]
    found = []
    for parameter in roles.parameters_of("policy"):
        assert parameter.grad is not None
        found.append(parameter.grad.clone())
        parameter.grad = None
    return loss, found


def test_a_policy_that_is_its_reference_costs_ln_two() -> None:
    loss, _ = gradients(prepared(), CONFIG)
    assert loss == pytest.approx(math.log(2), abs=TOLERANCE)


def test_implicit_rewards_are_log_ratios_of_whole_responses() -> None:
    roles = tiny.roles("policy")
    (one,) = rankings(1)
    found = dpo.implicit_rewards(roles, [one], replace(CONFIG, beta=0.5))[0]
    for reward, ids in zip(found.tolist(), one.completions, strict=True):
        batch = batches.pad([(one.prompt_ids, ids)], 0)
        total = {
            role: float(
                rollout.token_logprobs(roles, role, batch, CONFIG.forward)[0].sum().detach()
            )
            for role in ("policy", "reference")
        }
        expected = 0.5 * (total["policy"] - total["reference"])
        assert reward == pytest.approx(expected, abs=1e-4)


def test_after_sft_the_reference_is_the_sft_model() -> None:
    roles = tiny.roles("sft")
    dpo.prepare(roles, CONFIG)
    loss, _ = gradients(roles, CONFIG)
    assert loss == pytest.approx(math.log(2), abs=TOLERANCE)


def test_loss_and_gradients_do_not_depend_on_the_micro_batches() -> None:
    roles = tiny.roles("policy")
    whole = gradients(roles, CONFIG)
    for budget in (1, 60):
        parts = gradients(roles, replace(CONFIG, token_budget=budget))
        assert parts[0] == pytest.approx(whole[0], abs=TOLERANCE)
        near.assert_same(parts[1], whole[1])


def test_training_comes_to_prefer_what_people_prefer() -> None:
    config = replace(CONFIG, epochs=5)
    reports = list(dpo.train(prepared(config), rankings(24), config, TrainingState()))
    assert reports[-1].metrics["accuracy"] > 0.9
    assert reports[-1].stop_reason == "steps: all 30 done"


def test_a_killed_run_resumes_to_bit_equal_metrics_and_weights(tmp_path: Path) -> None:
    roles = prepared()
    whole = list(dpo.train(roles, rankings(12), CONFIG, TrainingState()))
    state = TrainingState()
    begun = list(islice(dpo.train(prepared(), rankings(12), CONFIG, state), 1))
    state.save(tmp_path)
    fresh, state = prepared(), TrainingState()
    state.restore(tmp_path)
    resumed = list(dpo.train(fresh, rankings(12), CONFIG, state))
    for one, other in zip(begun + resumed, whole, strict=True):
        assert one.metrics["loss"] == other.metrics["loss"]
    for ended, expected in zip(
        fresh.parameters_of("policy"), roles.parameters_of("policy"), strict=True
    ):
        assert torch.equal(ended, expected)


def test_prompts_without_judged_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="none of 2 ranked prompts"):
        next(dpo.train(prepared(), rankings(2), replace(CONFIG, max_tokens=2), TrainingState()))
