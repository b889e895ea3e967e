"""The search for a reward model's learning rate, on a small model and a taste it can learn."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.lora import Lora
from app.domain.plan import RoundPlan
from app.domain.rate_search import Choice, MeasuredOn, Trial
from app.domain.reward_plan import RewardPlan
from tests.worker.rlhf import tiny
from tests.worker.rlhf.reward.test_reward_model import rankings
from worker.files.run_folder import RunFolder
from worker.orders import Interrupted, Orders
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import head_scale, reward_model, scoring
from worker.rlhf.reward.ranking_loss import branches_of
from worker.training import reward, reward_search
from worker.training.model_card import ModelCard
from worker.training.reward import RewardInputs

LORA = Lora(r=tiny.LORA.r, alpha=tiny.LORA.alpha)
PLAN = RoundPlan(reward=RewardPlan(epochs=4, batch_size=16, lora=LORA, patience=0))
SHORT = replace(PLAN, reward=replace(PLAN.reward, epochs=2))
TRAIN, HELDOUT = rankings(200), rankings(40, start=1000)


class Silent:
    """A watcher that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps = 0
        self.stop_at: tuple[int, Orders] | None = None

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, step: int, metrics: object) -> None: ...

    def progress(self, done: int, total: int, note: str) -> None:
        assert done <= total
        self.steps += 1
        if self.stop_at is not None and self.steps == self.stop_at[0]:
            self.stop_at[1].give("preempt")


def inputs_of(
    train: list[RankedPrompt] = TRAIN,
    heldout: list[RankedPrompt] = HELDOUT,
    plan: RoundPlan = PLAN,
) -> RewardInputs:
    return RewardInputs(plan, train, heldout, {}, [], "", len(train))


def searched(folder: Path, inputs: RewardInputs) -> tuple[RewardInputs, dict[str, Any], Silent]:
    watcher = Silent()
    settled, metrics = reward_search.settle(
        RunFolder(folder, watcher), Roles(tiny.loaded()), inputs
    )
    return settled, metrics, watcher


def test_a_rate_that_learns_is_found_where_a_fixed_one_would_not(tmp_path: Path) -> None:
    settled, metrics, watcher = searched(tmp_path, inputs_of())
    found = metrics["rate_search"]
    assert found["measured"] == MeasuredOn.HELDOUT
    assert len(found["trials"]) == 4
    assert found["took"] <= 0.2
    assert found["sentence"] in watcher.said
    accuracies = {}
    for rate in (1e-6, settled.plan.reward.learning_rate):
        roles = Roles(tiny.loaded())
        fixed = replace(
            settled.plan,
            reward=replace(settled.plan.reward, learning_rate=rate, evaluate_every=1000),
        )
        config = reward.begin(roles, replace(settled, plan=fixed))
        assert config.warmup_share > 0.0
        for report in reward_model.train(roles, TRAIN, HELDOUT, config, TrainingState()):
            accuracies[rate] = report.metrics.get("heldout/accuracy", 0.0)
    untrained, trained = accuracies.values()
    assert trained > untrained + 0.1
    assert trained > 0.75


def test_a_search_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    roles, fresh = Roles(tiny.loaded()), Roles(tiny.loaded())
    settled, _ = reward_search.settle(RunFolder(tmp_path, Silent()), roles, inputs_of(plan=SHORT))
    reward.begin(fresh, settled)
    before = fresh.named_parameters_of("reward")
    for name, parameter in roles.named_parameters_of("reward").items():
        assert torch.equal(parameter, before[name]), name


def test_a_killed_search_is_repeated_with_the_same_result_and_a_finished_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = inputs_of(plan=SHORT)
    _, whole, _ = searched(tmp_path / "whole", asked)
    watcher, orders = Silent(), Orders()
    watcher.stop_at = (9, orders)
    with pytest.raises(Interrupted, match="searching for a learning rate"):
        reward_search.settle(
            RunFolder(tmp_path / "killed", watcher, orders), Roles(tiny.loaded()), asked
        )
    _, again, _ = searched(tmp_path / "killed", asked)
    assert again == whole
    monkeypatch.setattr(reward_search, "_choose", _refuse)
    _, read, _ = searched(tmp_path / "killed", asked)
    assert read == whole
    with pytest.raises(AssertionError, match="searched"):  # other settings search again
        searched(tmp_path / "killed", inputs_of(plan=replace(SHORT, seed=1)))


def _refuse(*_: object) -> None:
    raise AssertionError("searched")


def test_with_few_held_out_comparisons_training_ones_are_set_aside_by_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[set[tuple[int, ...]], set[tuple[int, ...]]]] = []
    run = reward_model.RewardRun

    def seen(
        roles: Roles, train: list[RankedPrompt], heldout: list[RankedPrompt], *rest: Any
    ) -> Any:
        parts.append(({r.prompt_ids for r in train}, {r.prompt_ids for r in heldout}))
        return run(roles, train, heldout, *rest)

    monkeypatch.setattr(reward_search, "RewardRun", seen)
    _, metrics, _ = searched(tmp_path, inputs_of(heldout=HELDOUT[:3]))
    assert metrics["rate_search"]["measured"] == MeasuredOn.FOLDS
    assert "for lack of held-out ones" in metrics["rate_search"]["sentence"]
    (first, second) = parts[1:3]
    assert not first[0] & first[1]
    assert not second[0] & second[1]
    assert not first[1] & second[1]


def test_too_few_comparisons_take_the_usual_rate_and_say_so(tmp_path: Path) -> None:
    settled, metrics, watcher = searched(tmp_path, inputs_of(train=TRAIN[:8], heldout=[]))
    assert settled.plan.reward.learning_rate == metrics["rate_search"]["usual"]
    assert metrics["rate_search"]["trials"] == ()
    assert "too few comparisons" in watcher.said[0]


def test_what_is_set_is_left_alone(tmp_path: Path) -> None:
    plan = replace(PLAN, reward=replace(PLAN.reward, learning_rate=1e-5))
    settled, metrics, watcher = searched(tmp_path, inputs_of(plan=plan))
    assert (settled.plan, metrics, watcher.said) == (plan, {}, [])
    unset = replace(plan, reward=replace(plan.reward, epochs=None))
    settled, _, _ = searched(tmp_path, inputs_of(plan=unset))
    assert settled.plan.reward.epochs == 6
    settled, _, _ = searched(tmp_path, inputs_of(plan=unset, heldout=[]))
    assert settled.plan.reward.epochs == reward_search.EPOCHS_UNWATCHED


@pytest.mark.parametrize("factor", [0.01, 1.0, 30.0])
def test_the_first_loss_is_that_of_equal_scores_whatever_the_size_of_hidden_states(
    factor: float,
) -> None:
    loaded = tiny.loaded()
    with torch.no_grad():
        loaded.model.get_decoder().norm.weight.mul_(factor)  # type: ignore[no-untyped-call]
    roles = Roles(loaded)
    plan = replace(PLAN, reward=replace(PLAN.reward, ensemble=2, learning_rate=1e-3))
    config = reward.begin(roles, inputs_of(plan=plan))
    run = reward_model.RewardRun(roles, TRAIN, HELDOUT, config, TrainingState())
    for name in run.names:
        loss = run.accumulate(name, TRAIN[:16])["loss"]
        assert loss == pytest.approx(math.log(2), rel=0.05)


@pytest.mark.parametrize("size", [1e-3, 1.0])
def test_what_all_hidden_states_share_is_taken_out_of_a_head_and_their_differences_stay(
    size: float,
) -> None:
    roles = Roles(tiny.loaded())
    reward_model.prepare(roles, reward_model.RewardConfig())
    (name,) = reward_model.names(1)
    rewards = scoring.AdapterReward(roles, (name,), scoring.probe(roles), autocast=False)
    branches = [branches_of(ranked) for ranked in TRAIN[:16]]
    roles.head(name).weight.data.mul_(size)
    before = rewards.raw(branches)[0]
    head_scale.settle(roles, (name,), TRAIN)
    after = rewards.raw(branches)[0]
    assert abs(float(after.mean())) < 0.2 * float(after.std())
    assert float(after.square().mean().sqrt()) <= 1.2 * head_scale.SCORE_RMS
    wanted = min(float(before.std()), head_scale.SCORE_RMS)
    assert float(after.std()) > 0.5 * wanted


def test_the_search_is_in_the_card_of_the_model() -> None:
    trials = (Trial(1e-3, 4, 0.6789, 0.56), Trial(3e-3, 4, None, 0.5))
    choice = Choice(1e-3, 1e-3, 2, MeasuredOn.HELDOUT, 40, 4, 0.2, 0.1, trials)
    found = json.loads(json.dumps({**choice.to_json(), "sentence": choice.sentence}))
    text = ModelCard("Reward model", "Reward model", {}, {"rate_search": found}).text()
    assert choice.sentence in text
    assert "0.001: held-out loss 0.6789, accuracy 56 % after 4 steps" in text
    assert "0.003: held-out loss not finite" in text
