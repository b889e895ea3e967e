"""The orders of every loop, pinned: a change would make new runs differ from older ones."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.worker.rlhf import tiny
from worker.rlhf.core import epoch_order
from worker.rlhf.core.epoch_order import EpochBatches
from worker.rlhf.core.examples import (
    PreferencePair,
    PromptItem,
    RankedPrompt,
    TokenizedDemonstration,
)
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import dpo, rloo, rollout
from worker.rlhf.policy.dpo import DpoConfig, DpoRun
from worker.rlhf.policy.ppo import PpoConfig, Update
from worker.rlhf.policy.rloo import RlooConfig
from worker.rlhf.reward import reward_model
from worker.rlhf.reward.reward_model import RewardConfig, RewardRun
from worker.rlhf.sft.finetuning import SftConfig, SftRun

SEED = 5
PROMPTS = [PromptItem(f"p{n}", (1,)) for n in range(5)]
FIRST_EPOCHS = [[4, 3, 6], [1, 5, 2], [0], [3, 1, 5], [6, 2, 0], [4]]


def ranked_prompts() -> list[RankedPrompt]:
    pairs = (PreferencePair(0, 1, share=1.0),)
    return [RankedPrompt(str(n), (5,), ((6,), (7,)), pairs) for n in range(7)]


def test_every_epoch_sees_every_item_once_in_another_order() -> None:
    batches = EpochBatches(11, 5, seed=0)
    epochs = [
        [index for step in range(3 * epoch, 3 * epoch + 3) for index in batches.batch(step)]
        for epoch in range(3)
    ]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert all(one != other for one, other in pairwise(epochs))


@pytest.mark.parametrize(("max_steps", "steps"), [(None, 9), (4, 4), (20, 9)])
def test_a_run_has_whole_epochs_unless_it_ends_early(max_steps: int | None, steps: int) -> None:
    assert EpochBatches(7, 3, seed=0).steps(3, max_steps) == steps


def test_positions_across_epochs_are_the_epochs_laid_end_to_end() -> None:
    laid_out = [
        index for epoch in range(3) for index in epoch_order.permutation(5, SEED, epoch).tolist()
    ]
    assert list(epoch_order.across_epochs(5, SEED, 0, 15)) == laid_out
    assert list(epoch_order.across_epochs(5, SEED, 3, 12)) == laid_out[3:12]


def test_the_order_of_sft_is_pinned() -> None:
    demonstrations = [TokenizedDemonstration((5,), (6,)) for _ in range(7)]
    config = SftConfig(batch_size=3, epochs=3, seed=SEED, lora=tiny.LORA)
    run = SftRun(Roles(tiny.loaded()), demonstrations, config, TrainingState())
    assert run.steps == 9
    assert [run.order.batch(step) for step in range(6)] == FIRST_EPOCHS
    assert [run.order.batch(step) for step in range(6, 9)] == [[1, 6, 3], [4, 5, 2], [0]]


def test_the_order_of_dpo_is_pinned() -> None:
    config = DpoConfig(batch_rankings=3, epochs=2, seed=SEED, lora=tiny.LORA)
    roles = Roles(tiny.loaded())
    dpo.prepare(roles, config)
    run = DpoRun(roles, ranked_prompts(), config, TrainingState())
    assert run.steps == 6
    assert [run.order.batch(step) for step in range(6)] == FIRST_EPOCHS


def test_the_orders_of_an_ensembles_members_are_pinned() -> None:
    config = RewardConfig(members=3, batch_rankings=3, epochs=2, seed=SEED, lora=tiny.LORA)
    roles, state = Roles(tiny.loaded()), TrainingState()
    reward_model.prepare(roles, config)
    run = RewardRun(roles, ranked_prompts(), (), config, state)
    assert run.steps == 6
    seen: dict[int, list[list[int]]] = {0: [], 2: []}
    for state.step in range(run.steps):
        for member, batches in seen.items():
            batches.append([int(ranked.key) for ranked in run.batch(member)])
    assert seen == {
        0: [[0, 1, 2], [3, 5, 4], [6], [0, 6, 5], [2, 3, 4], [1]],
        2: [[0, 6, 5], [1, 4, 2], [3], [5, 6, 3], [2, 0, 1], [4]],
    }


def test_the_prompts_of_policy_steps_are_pinned() -> None:
    drawn = [[item.key for item in rollout.draw(PROMPTS, step, 4, SEED)] for step in (1, 2, 3)]
    assert drawn == [
        ["p3", "p1", "p0", "p2"],
        ["p4", "p3", "p0", "p4#1"],
        ["p2", "p1", "p3", "p2#1"],
    ]
    more_than_all = [item.key for item in rollout.draw(PROMPTS, 2, 8, SEED)]
    assert more_than_all == ["p2", "p1", "p3", "p2#1", "p0", "p4", "p1#1", "p4#1"]


def test_the_prompts_of_rloo_are_pinned() -> None:
    config = RlooConfig(2, PpoConfig(episodes=8, epochs=1, seed=SEED))
    keys = [item.key for item in rloo.draw(PROMPTS, 1, config)]
    assert keys == ["p3/0", "p3/1", "p1/0", "p1/1", "p0/0", "p0/1", "p2/0", "p2/1"]


def test_the_minibatches_of_ppo_are_pinned() -> None:
    config = PpoConfig(epochs=2, minibatches=3, episodes=8, seed=SEED, lora=tiny.LORA)
    state = TrainingState()
    update = Update(tiny.roles("policy", "value", heads=("value",)), config, state)
    state.step = 3
    assert [list(update._minibatches(8, epoch)) for epoch in (0, 1)] == [
        [[2, 0, 1], [5, 6, 7], [4, 3]],
        [[0, 1, 3], [7, 6, 4], [5, 2]],
    ]


def test_the_sampling_seed_of_a_step_is_pinned() -> None:
    sampling = PpoConfig().sampling
    assert rollout.seeded(sampling, SEED, 3) == replace(sampling, seed=5_000_018)
