"""Reward training: what gradients may depend on, what changes, when it stops, how it resumes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import near, tiny
from worker.rlhf.core.examples import AbsoluteFeedback, PreferencePair, RankedPrompt
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.reward import reward_model, scoring, shared_prefix
from worker.rlhf.reward.ranking_loss import (
    LossName,
    Terms,
    TooLong,
    branches_of,
    fit_of,
    loss_of,
    ranks_of,
    split_by_length,
)
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.reward.shared_prefix import Probe

LOSS_TOLERANCE = 1e-5
CONFIG = RewardConfig(
    batch_rankings=4, evaluate_every=1, patience=0, lora=tiny.LORA, autocast=False
)
TASTE_ID = 77


def rankings(count: int, *, start: int = 0) -> list[RankedPrompt]:
    """Return rankings in which a completion with a certain token beats one without."""
    made = []
    for seed in range(start, start + count):
        prompt, *completions = tiny.token_ids(4 + seed % 3, 5, 3 + seed % 4, 7, seed=seed)
        liked = seed % 3
        completions[liked] = (*completions[liked][:-1], TASTE_ID)
        pairs = tuple(
            PreferencePair(one, other, 1.0 if one == liked else 0.0 if other == liked else 0.5)
            for one in range(3)
            for other in range(one + 1, 3)
        )
        made.append(RankedPrompt(f"r{seed}", prompt, tuple(completions), pairs))
    return made


def prepared(config: RewardConfig = CONFIG) -> Roles:
    roles = Roles(tiny.loaded())
    reward_model.prepare(roles, config)
    return roles


def weights_of(roles: Roles, *names: str) -> dict[str, Tensor]:
    return {
        key: parameter.detach().clone()
        for name in names
        for key, parameter in roles.named_parameters_of(name).items()
    }


def gradients(config: RewardConfig, batch: Sequence[RankedPrompt]) -> tuple[float, list[Tensor]]:
    """Return the loss and the gradients of a step of adapters that have moved already."""
    roles = prepared(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in roles.parameters_of("reward"):
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    run = reward_model.RewardRun(roles, batch, [], config, TrainingState())
    loss = run.accumulate("reward", batch)["loss"]
    found = [parameter.grad for parameter in roles.parameters_of("reward")]
    return loss, [gradient for gradient in found if gradient is not None]


def test_loss_and_gradients_do_not_depend_on_the_micro_batches() -> None:
    batch = rankings(6)
    whole = gradients(CONFIG, batch)
    for budget in (1, 40, 100):
        parts = gradients(replace(CONFIG, token_budget=budget), batch)
        assert parts[0] == pytest.approx(whole[0], abs=LOSS_TOLERANCE)
        near.assert_same(parts[1], whole[1])


def test_loss_and_gradients_do_not_depend_on_sharing_the_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = rankings(6)
    together = gradients(CONFIG, batch)
    apart = Probe(is_exact=False, window=None, why="for comparison")
    monkeypatch.setattr(shared_prefix, "probe", lambda *_, **__: apart)
    alone = gradients(CONFIG, batch)
    assert alone[0] == pytest.approx(together[0], abs=LOSS_TOLERANCE)
    near.assert_same(alone[1], together[1])


def test_every_prompt_weighs_the_same_however_many_pairs_it_has() -> None:
    many, few = rankings(2)
    few = replace(few, pairs=few.pairs[:1])
    scores = [torch.zeros(3), torch.zeros(3)]
    found = loss_of(scores, [many, few], Terms(centering=0.0))
    assert found.tolist() == pytest.approx([math.log(2)] * 2)


def test_weights_and_margins_of_pairs_count_and_margins_can_be_switched_off() -> None:
    (one,) = rankings(1)
    scores = [torch.tensor([0.5, 0.0, 0.0])]
    only = replace(one, pairs=(PreferencePair(0, 1, 1.0, margin=0.5, weight=3.0),))
    plain = Terms(centering=0.0)
    assert float(loss_of(scores, [only], plain)) == pytest.approx(3 * math.log(2))
    without = loss_of(scores, [only], replace(plain, with_margin=False))
    assert float(without) == pytest.approx(3 * math.log1p(math.exp(-0.5)))


def test_weights_of_judgments_count_in_plackett_luce_too() -> None:
    scores, terms = torch.tensor([0.3, -0.2, 0.5]), Terms(loss="plackett_luce", centering=0.0)
    found = []
    for weight in (1.0, 3.0):
        pairs = tuple(
            PreferencePair(a, b, share=1.0, weight=weight) for a, b in ((0, 1), (0, 2), (1, 2))
        )
        ranking = RankedPrompt("a", (1,), ((2,), (3,), (4,)), pairs)
        found.append(float(loss_of([scores], [ranking], terms)))
    assert found[1] == pytest.approx(3.0 * found[0])
    with pytest.raises(ValueError, match="smoothing applies to the loss of pairs"):
        Terms(loss="plackett_luce", smoothing=0.1)


def test_centering_pulls_the_sum_of_a_pair_to_zero() -> None:
    (one,) = rankings(1)
    only = replace(one, pairs=(PreferencePair(0, 1, 0.5),))
    extra = loss_of([torch.tensor([3.0, 3.0, 0.0])], [only], Terms())
    assert float(extra) == pytest.approx(math.log(2) + 0.01 * 36)


def test_thumbs_of_a_prompt_count_as_one_whatever_their_number() -> None:
    (one,) = rankings(1)
    up, down = AbsoluteFeedback(thumb=1.0), AbsoluteFeedback(thumb=0.0, weight=3.0)
    scores = [torch.tensor([0.5, -0.5, 9.0])]
    plain = Terms(centering=0.0)
    both = replace(one, pairs=(), absolutes=(up, down, AbsoluteFeedback()))
    expected = (1 + 3) / 2 * math.log1p(math.exp(-0.5))
    assert float(loss_of(scores, [both], plain)) == pytest.approx(expected)
    smooth = loss_of(scores, [both], replace(plain, smoothing=0.1))
    assert float(smooth) == pytest.approx(expected + 2 * 0.1 * 0.5)


def test_thumbs_judge_accuracy_and_teach_where_zero_is() -> None:
    def thumbed(count: int, start: int = 0) -> list[RankedPrompt]:
        return [
            replace(
                each,
                completions=each.completions[:1],
                pairs=(),
                absolutes=(AbsoluteFeedback(thumb=float(each.completions[0][-1] == TASTE_ID)),),
            )
            for each in rankings(count, start=start)
        ]

    config = replace(CONFIG, learning_rate=2e-2, epochs=8)
    reports = list(
        reward_model.train(prepared(config), thumbed(36), thumbed(12, start=100), config, _new())
    )
    assert reports[0].metrics["heldout/accuracy"] < 0.8
    assert reports[-1].metrics["heldout/accuracy"] > 0.9


def test_ranks_come_from_the_share_of_judgments_won() -> None:
    (one,) = rankings(1)
    pairs = (PreferencePair(0, 1, 0.0), PreferencePair(0, 2, 0.5), PreferencePair(1, 2, 1.0))
    assert ranks_of(replace(one, pairs=pairs)).tolist() == [1, 0, 1]


@pytest.mark.parametrize("loss", ["pairs", "plackett_luce"])
def test_training_learns_the_taste_and_leaves_the_base_bit_equal(loss: LossName) -> None:
    config = replace(CONFIG, learning_rate=2e-2, epochs=6, terms=Terms(loss))
    roles = prepared(config)
    before = weights_of(roles, BASE)
    reports = list(reward_model.train(roles, rankings(24), rankings(8, start=100), config, _new()))
    assert reports[-1].metrics["heldout/accuracy"] > 0.9
    after = weights_of(roles, BASE)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_members_of_an_ensemble_start_and_learn_apart() -> None:
    config = replace(CONFIG, members=2)
    roles = prepared(config)
    list(reward_model.train(roles, rankings(8), [], config, _new()))
    first, second = (weights_of(roles, name) for name in reward_model.names(2))
    assert not torch.equal(first["reward/head"], second["reward-1/head"])
    for name in reward_model.names(2):
        assert any(weight.any() for key, weight in weights_of(roles, name).items() if "_B" in key)


def test_members_see_the_prompts_in_orders_of_their_own() -> None:
    config = replace(CONFIG, members=2)
    run = reward_model.RewardRun(prepared(config), rankings(12), [], config, _new())
    assert [each.key for each in run.batch(0)] != [each.key for each in run.batch(1)]


def test_every_prompt_is_seen_once_an_epoch() -> None:
    config = replace(CONFIG, epochs=2)
    state = _new()
    run = reward_model.RewardRun(prepared(config), rankings(10), [], config, state)
    for epoch in range(2):
        keys = []
        for step in range(3):
            state.step = 3 * epoch + step
            keys += [each.key for each in run.batch(0)]
        assert sorted(keys) == sorted(each.key for each in rankings(10))


def test_the_best_weights_on_heldout_prompts_are_in_the_model_at_the_end() -> None:
    config = replace(CONFIG, epochs=8, learning_rate=5e-2, patience=2)
    roles, state = prepared(config), _new()
    confused = [
        replace(each, pairs=(PreferencePair(0, 1, 0.9),)) for each in rankings(6, start=200)
    ]
    reports = list(reward_model.train(roles, rankings(12), confused, config, state))
    losses = [each.metrics["heldout/loss"] for each in reports]
    assert reports[-1].stop_reason is not None
    assert reports[-1].stop_reason.startswith("early stop")
    assert len(reports) < reports[-1].steps_total
    assert state.best is not None
    assert state.best.step == 1 + losses.index(min(losses))
    model = scoring.AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    raw = model.raw([branches_of(each) for each in confused])[0]
    again = fit_of(torch.split(raw, [3] * len(confused)), confused)
    assert again.loss == pytest.approx(min(losses), abs=1e-6)


def test_a_run_without_heldout_prompts_takes_all_its_steps() -> None:
    reports = list(reward_model.train(prepared(), rankings(10), [], CONFIG, _new()))
    assert [each.step for each in reports] == [1, 2, 3]
    assert reports[-1].stop_reason == "steps: all 3 done"
    assert all(each.stop_reason is None for each in reports[:-1])


def test_too_long_prompts_are_named_and_left_out() -> None:
    kept, too_long = split_by_length(rankings(3), max_tokens=12)
    assert [each.key for each in kept] == ["r0", "r1"]
    assert too_long == [TooLong("r2", 2, 13)]


def test_prompts_without_judgments_are_refused() -> None:
    with pytest.raises(
        ValueError, match="none of 3 ranked prompts has judgments and fits within 2 tokens"
    ):
        next(reward_model.train(prepared(), rankings(3), [], replace(CONFIG, max_tokens=2), _new()))


def test_ties_judge_no_accuracy_and_equal_scores_are_half_right() -> None:
    (one,) = rankings(1)
    found = fit_of([torch.zeros(3)], [one])
    assert found.accuracy == 0.5
    assert found.loss == pytest.approx(math.log(2))


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_killed_run_resumes_to_bit_equal_metrics_and_weights(
    tmp_path: Path, stop_after: int
) -> None:
    config = replace(CONFIG, members=2, epochs=2, learning_rate=1e-2)
    train, heldout = rankings(12), rankings(3, start=50)
    roles = prepared(config)
    whole = list(reward_model.train(roles, train, heldout, config, _new()))

    killed, state = prepared(config), _new()
    begun = list(islice(reward_model.train(killed, train, heldout, config, state), stop_after))
    state.save(tmp_path)
    fresh, state = prepared(replace(config, seed=5)), _new()
    state.restore(tmp_path)
    resumed = list(reward_model.train(fresh, train, heldout, config, state))

    assert _untimed(begun + resumed) == _untimed(whole)
    ended, expected = (weights_of(each, *reward_model.names(2)) for each in (fresh, roles))
    assert all(torch.equal(ended[name], weight) for name, weight in expected.items())


def _new() -> TrainingState:
    return TrainingState()


def _untimed(reports: Sequence[StepReport]) -> list[dict[str, float]]:
    return [
        {name: value for name, value in each.metrics.items() if not name.startswith("time/")}
        for each in reports
    ]


def test_the_rate_rises_over_the_warm_up_and_falls_to_zero() -> None:
    config = replace(CONFIG, epochs=10, warmup_share=0.2, learning_rate=1.0e-3)
    reports = list(reward_model.train(prepared(config), rankings(8), [], config, _new()))
    rates = [report.metrics["learning_rate"] for report in reports]
    assert len(rates) == 20
    assert rates[:5] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 1e-4
