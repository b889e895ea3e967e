"""The training loops on encoder–decoder models: the invariants that hold for decoder-only ones."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import near, tiny
from tests.worker.rlhf.fixed_rollouts import prompts
from tests.worker.rlhf.policy.test_ppo import (
    CONFIG,
    RATIO_TOLERANCE,
    ROLES,
    _equal,
    _untimed,
    collect,
    gradients,
    move,
    moved_targets,
    run,
    weights_of,
)
from tests.worker.rlhf.reward.test_reward_model import rankings
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, SFT, LoraSettings, Roles
from worker.rlhf.policy import best_of_n, dpo, ppo, rloo, rollout
from worker.rlhf.policy.best_of_n import BestOfNConfig
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.policy.metric_sums import MetricSums
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import Update
from worker.rlhf.policy.rloo import RlooConfig
from worker.rlhf.reward import reward_model
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.reward.scoring import Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig

Make = Callable[[], LoadedModel]
each_family = pytest.mark.parametrize(
    "make", [tiny.loaded_t5, tiny.loaded_bart], ids=["t5", "bart"]
)
LORA = LoraSettings(r=4, alpha=8, targets=("q", "v"))
UNWATCHED = WatchConfig(prompts=0, rules=())


class LikesOneSide:
    """A rule that likes the tokens on one side of a plane through the model's output layer."""

    def __init__(self) -> None:
        head = tiny.loaded_t5().model.lm_head.weight
        assert isinstance(head, Tensor)
        self._liked: list[bool] = (head[:, 0] > 0).tolist()

    def score(self, branches: Sequence[Branches]) -> Scores:
        raw = torch.tensor(
            [
                fmean(1.0 if self._liked[token] else -1.0 for token in ids)
                for branch in branches
                for ids in branch.completions
            ]
        )
        return Scores(raw, 2.0 * raw)


def prepared(make: Make = tiny.loaded_t5, config: ppo.PpoConfig = CONFIG) -> Roles:
    roles = Roles(make())
    ppo.prepare(roles, config, reward=None)
    return roles


@pytest.mark.parametrize(
    ("make", "temperature"), [(tiny.loaded_t5, 1.0), (tiny.loaded_t5, 0.5), (tiny.loaded_bart, 1.0)]
)
def test_the_first_minibatchs_ratio_is_one(make: Make, temperature: float) -> None:
    config = replace(CONFIG, temperature=temperature)
    roles = prepared(make)
    move(roles, alpha=0.05)
    batch = collect(roles, config)
    assert (batch.logprobs - batch.reference).abs().max() > 0.05
    sums = MetricSums()
    targets = ppo.targets_of(batch, config, coefficient=0.1)
    Update(roles, config, TrainingState()).accumulate(targets, range(8), sums)
    assert sums.means()["policy/ratio_deviation"] < RATIO_TOLERANCE
    assert rollout.metrics_of(batch, train_s=1.0)["policy/sampler_deviation"] < RATIO_TOLERANCE


def test_kl_is_zero_before_the_first_step_and_not_after() -> None:
    reports = run(prepared(), replace(CONFIG, steps=2, watch=UNWATCHED))
    assert reports[0].metrics["kl/k1"] == 0.0
    assert reports[1].metrics["kl/k3"] > 0.0


def test_gradients_do_not_depend_on_the_micro_batches() -> None:
    roles = prepared()
    targets = moved_targets(roles)
    whole = gradients(roles, CONFIG, targets)
    for budget in (1, 25, 60):
        parts = gradients(roles, replace(CONFIG, token_budget=budget), targets)
        assert parts.keys() == whole.keys()
        near.assert_same(parts.values(), whole.values())


@each_family
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_gradients_reach_encoder_and_decoder_of_both_roles(
    make: Make, is_checkpointed: bool
) -> None:
    roles = prepared(make)
    targets = moved_targets(roles)
    together = gradients(roles, CONFIG, targets)
    for role in ROLES:
        for part in ("encoder", "decoder"):
            reached = [name for name in together if f"{role}/" in name and f"{part}." in name]
            assert reached
            assert all(together[name].any() for name in reached), (role, part)
    roles.checkpoint_gradients(is_checkpointed)
    again = gradients(roles, CONFIG, targets)
    near.assert_same((again[name] for name in together), together.values())


def test_the_gradient_of_a_log_prob_is_its_finite_difference() -> None:
    roles = prepared()
    roles.causal.double()
    move(roles, alpha=0.05)
    episodes = collect(prepared()).episodes
    (batch,) = rollout.micro_batches(roles, episodes, range(8), CONFIG.forward)

    def total() -> Tensor:
        return rollout.token_logprobs(roles, "policy", batch, CONFIG.forward)[0].double().sum()

    parameters = roles.parameters_of("policy")
    direction = [torch.randn_like(parameter) for parameter in parameters]
    gradient = torch.autograd.grad(total(), parameters)
    slope, squares = (
        sum(float((one * along).sum()) for one, along in zip(gradient, other, strict=True))
        for other in (direction, gradient)
    )
    step = 1e-3
    with torch.no_grad():
        values = []
        for sign in (1.0, -2.0):
            for parameter, along in zip(parameters, direction, strict=True):
                parameter.add_(along, alpha=sign * step)
            values.append(float(total()))
    # The slope is the gradient's length times a normal number, which may be small.
    difference = (values[0] - values[1]) / (2 * step)
    assert difference == pytest.approx(slope, abs=1e-3 * math.sqrt(squares))


def test_two_forwards_in_train_mode_are_equal() -> None:
    roles = prepared()
    move(roles, alpha=0.05)
    episodes = collect(roles).episodes
    roles.causal.train()
    (batch,) = rollout.micro_batches(roles, episodes, range(8), CONFIG.forward)
    one, other = (rollout.token_logprobs(roles, "policy", batch, CONFIG.forward)[0] for _ in "ab")
    assert torch.equal(one, other)


def test_only_policy_and_value_change() -> None:
    roles = prepared()
    kept, moved = weights_of(roles, BASE), weights_of(roles, *ROLES)
    run(roles, replace(CONFIG, steps=1, watch=UNWATCHED))
    after = weights_of(roles, BASE, *ROLES)
    assert _equal({name: after[name] for name in kept}, kept)
    assert not any(torch.equal(after[name], weight) for name, weight in moved.items())


def test_a_killed_run_resumes_to_bit_equal_metrics_and_weights(tmp_path: Path) -> None:
    killed, state = prepared(), TrainingState()
    loop = ppo.train(killed, prompts(20), prompts(4, start=50), _LIKES, CONFIG, state)
    begun = list(islice(loop, 2))
    del loop
    state.save(tmp_path)
    fresh, state = prepared(config=replace(CONFIG, seed=5)), TrainingState()
    state.restore(tmp_path)
    resumed = list(ppo.train(fresh, prompts(20), prompts(4, start=50), _LIKES, CONFIG, state))
    undisturbed, state = prepared(), TrainingState()
    expected = list(
        ppo.train(undisturbed, prompts(20), prompts(4, start=50), _LIKES, CONFIG, state)
    )
    assert _untimed(begun + resumed) == _untimed(expected)
    assert _equal(weights_of(fresh, *ROLES), weights_of(undisturbed, *ROLES))


def test_ppo_and_rloo_come_to_do_what_is_rewarded() -> None:
    config = replace(
        CONFIG,
        steps=8,
        episodes=24,
        policy_learning_rate=3e-2,
        kl_coefficient=0.0,
        watch=UNWATCHED,
    )
    roles = prepared(config=config)
    assert _gain(ppo.train(roles, prompts(20), [], _LIKES, config, TrainingState())) > 0.15
    roles, grouped = Roles(tiny.loaded_t5()), RlooConfig(4, config)
    rloo.prepare(roles, grouped)
    assert _gain(rloo.train(roles, prompts(20), [], _LIKES, grouped, TrainingState())) > 0.15


def test_sft_comes_to_say_what_is_shown() -> None:
    roles = Roles(tiny.loaded_t5())
    shown = [TokenizedDemonstration(*tiny.token_ids(4, 3 + n % 3, seed=n % 4)) for n in range(16)]
    config = SftConfig(epochs=20, batch_size=8, learning_rate=3e-2, lora=LORA, autocast=False)
    losses = [r.metrics["loss"] for r in finetuning.train(roles, shown, config, TrainingState())]
    assert losses[-1] < 0.5 * losses[0]
    assert finetuning.evaluate(roles, SFT, shown, config) == pytest.approx(losses[-1], rel=0.2)


def test_the_sft_loss_does_not_depend_on_the_micro_batches() -> None:
    roles = Roles(tiny.loaded_t5())
    shown = [TokenizedDemonstration(*tiny.token_ids(3 + n, 9 - n, seed=n)) for n in range(6)]
    config = SftConfig(lora=LORA, autocast=False)
    roles.add_adapter(SFT, LORA)
    found = []
    for micro_tokens in (1, 20, 1000):
        loss, tokens = finetuning.accumulate(
            roles, SFT, shown, replace(config, micro_tokens=micro_tokens)
        )
        assert tokens == 39
        gradient = torch.cat(
            [p.grad.flatten() for p in roles.parameters_of(SFT) if p.grad is not None]
        )
        found.append((loss, gradient))
        roles.causal.zero_grad()
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        near.assert_same([gradient], [found[0][1]])


def test_a_reward_model_comes_to_agree_with_rankings() -> None:
    roles = Roles(tiny.loaded_t5())
    config = RewardConfig(
        epochs=8, batch_rankings=8, learning_rate=2e-2, patience=0, lora=tiny.LORA, autocast=False
    )
    reward_model.prepare(roles, config)
    reports = list(
        reward_model.train(roles, rankings(24), rankings(6, start=90), config, TrainingState())
    )
    assert reports[-1].metrics["accuracy"] > 0.9
    assert reports[-1].metrics["loss"] < 0.7 * reports[0].metrics["loss"]


def test_the_ranking_loss_does_not_depend_on_the_micro_batches() -> None:
    roles = Roles(tiny.loaded_t5())
    config = RewardConfig(lora=LORA, autocast=False)
    reward_model.prepare(roles, config)
    batch = rankings(5)
    found = []
    for budget in (1, 40, 4000):
        used = replace(config, token_budget=budget)
        reward_run = reward_model.RewardRun(roles, batch, [], used, TrainingState())
        reward_run.accumulate("reward", batch)
        parameters = reward_run.trained("reward").values()
        found.append([p.grad.clone() for p in parameters if p.grad is not None and p.grad.any()])
        reward_run.optimizer.zero_grad()
    for gradients_ in found[1:]:
        near.assert_same(gradients_, found[0])


def test_dpo_and_best_of_n_train_the_policy() -> None:
    roles = Roles(tiny.loaded_t5())
    config = DpoConfig(
        epochs=8, batch_rankings=8, learning_rate=1e-2, beta=0.5, lora=LORA, autocast=False
    )
    dpo.prepare(roles, config)
    reports = list(dpo.train(roles, rankings(24), config, TrainingState()))
    assert reports[0].metrics["reward/std"] == 0.0  # before the first step policy is reference
    assert reports[-1].metrics["accuracy"] > 0.9

    roles = Roles(tiny.loaded_t5())
    imitation = SftConfig(epochs=8, batch_size=8, learning_rate=3e-2, lora=LORA, autocast=False)
    chosen = BestOfNConfig(SamplingConfig(n=4, max_new_tokens=5), imitation)
    best_of_n.prepare(roles, chosen)
    reports = list(best_of_n.train(roles, prompts(16), _LIKES, chosen, TrainingState()))
    assert reports[0].metrics["reward/lead"] > 0.0
    assert reports[-1].metrics["loss"] < reports[0].metrics["loss"]


_LIKES = LikesOneSide()


def _gain(loop: Iterator[StepReport]) -> float:
    scores = [report.metrics["reward/score"] for report in loop]
    return fmean(scores[-3:]) - fmean(scores[:3])
