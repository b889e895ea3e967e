"""RLOO: the baseline leaves the response itself out, and a run learns and resumes."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean

import pytest
import torch

from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import ppo, rloo, rollout
from worker.rlhf.policy.metric_sums import MetricSums
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig, Update
from worker.rlhf.policy.rloo import RlooConfig

CONFIG = RlooConfig(
    samples=4,
    ppo=PpoConfig(
        steps=4,
        episodes=16,
        epochs=1,
        policy_learning_rate=2e-2,
        max_new_tokens=6,
        autocast=False,
        lora=tiny.LORA,
        watch=WatchConfig(every=2, prompts=4, rules=()),
    ),
)


def prepared(config: RlooConfig = CONFIG) -> Roles:
    roles = Roles(tiny.loaded())
    rloo.prepare(roles, config)
    return roles


def run(
    roles: Roles, config: RlooConfig = CONFIG, state: TrainingState | None = None
) -> list[StepReport]:
    state = state or TrainingState()
    return list(rloo.train(roles, prompts(20), prompts(4, start=50), LikesOneSide(), config, state))


def test_an_advantage_is_the_reward_less_the_mean_of_the_others() -> None:
    found = rloo.leave_one_out(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]))
    assert found.tolist() == [[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]]


def test_the_responses_of_a_prompt_are_adjacent_and_differ() -> None:
    drawn = rloo.draw(prompts(20), 1, CONFIG)
    assert len({item.key for item in drawn}) == 16
    for start in range(0, 16, 4):
        assert len({item.prompt_ids for item in drawn[start : start + 4]}) == 1


def test_every_token_of_a_response_has_its_advantage() -> None:
    roles = prepared()
    batch = rollout.collect(
        roles,
        rloo.draw(prompts(20), 1, CONFIG),
        LikesOneSide(),
        CONFIG.ppo.sampling,
        CONFIG.ppo.forward,
        with_values=False,
    )
    gains = rloo.targets_of(batch, CONFIG, 0.1).advantages
    mask = batch.episodes.is_response
    assert not gains[~mask].any()
    assert float(gains[:, 0].view(4, 4).sum(1).abs().max()) == pytest.approx(0.0, abs=1e-5)
    for row, mine in zip(gains, mask, strict=True):
        assert len(set(row[mine].tolist())) == 1


def test_the_policy_comes_to_do_what_is_rewarded() -> None:
    own = replace(
        CONFIG.ppo,
        steps=12,
        episodes=32,
        policy_learning_rate=5e-2,
        kl_coefficient=0.0,
        watch=WatchConfig(prompts=0, rules=()),
    )
    reports = run(prepared(), replace(CONFIG, ppo=own))
    scores = [each.metrics["reward/score"] for each in reports]
    assert fmean(scores[-4:]) > fmean(scores[:4]) + 0.15


def test_the_gradient_is_that_of_reinforce() -> None:
    roles = prepared()
    batch = rollout.collect(
        roles,
        rloo.draw(prompts(20), 1, CONFIG),
        LikesOneSide(),
        CONFIG.ppo.sampling,
        CONFIG.ppo.forward,
        with_values=False,
    )
    targets = rloo.targets_of(batch, CONFIG, 0.1)
    parts = {"policy": ppo.policy_loss}
    update = Update(roles, CONFIG.ppo, TrainingState(), parts, trained=("policy",))
    update.accumulate(targets, range(16), MetricSums())
    found = [parameter.grad for parameter in roles.parameters_of("policy")]

    total = torch.zeros(())
    for row, (prompt, response) in enumerate(batch.episodes.sequences):
        with roles.role("policy"):
            logits = roles.logits(roles.hidden(torch.tensor([[*prompt, *response]]))[0])
        chosen = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(
            1, torch.tensor(response)[:, None]
        )
        total = total - targets.advantages[row, 0] * chosen.sum()
    tokens = int(batch.episodes.lengths.sum())
    expected = torch.autograd.grad(total / tokens, roles.parameters_of("policy"))
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert torch.allclose(one, other, atol=1e-5)


def test_a_killed_run_resumes_to_bit_equal_metrics_and_weights(tmp_path: Path) -> None:
    roles = prepared()
    whole = run(roles)
    state = TrainingState()
    killed = rloo.train(
        prepared(), prompts(20), prompts(4, start=50), LikesOneSide(), CONFIG, state
    )
    begun = list(islice(killed, 2))
    state.save(tmp_path)
    fresh, state = prepared(), TrainingState()
    state.restore(tmp_path)
    resumed = run(fresh, CONFIG, state)
    names = ("loss/policy", "reward/score", "kl/k3", "best/objective")
    for one, other in zip(begun + resumed, whole, strict=True):
        assert [one.metrics[name] for name in names] == [other.metrics[name] for name in names]
    for ended, expected in zip(
        fresh.parameters_of("policy"), roles.parameters_of("policy"), strict=True
    ):
        assert torch.equal(ended, expected)


@pytest.mark.parametrize(("samples", "episodes"), [(1, 16), (3, 16)])
def test_batches_that_leave_nothing_out_or_do_not_divide_are_refused(
    samples: int, episodes: int
) -> None:
    with pytest.raises(ValueError, match="samples"):
        RlooConfig(samples, PpoConfig(episodes=episodes))
