"""Scores of completions: in the order of the branches, normalized, and with a spread."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.worker.rlhf import tiny
from worker.rlhf.core import batches
from worker.rlhf.core.examples import PreferencePair, RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import reward_model, scoring
from worker.rlhf.reward.normalizer import Normalizer, Scale
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches, Probe

TOLERANCE = 1e-5
EXACT = Probe(is_exact=True, window=None, why="")
NAMES = ("reward", "reward-1")
BRANCHES = [
    Branches(tiny.token_ids(9, seed=1)[0], tiny.token_ids(5, 2, 8, seed=2)),
    Branches(tiny.token_ids(3, seed=3)[0], tiny.token_ids(4, seed=4)),
    Branches(tiny.token_ids(6, seed=5)[0], tiny.token_ids(1, 7, seed=6)),
]


@pytest.fixture
def ensemble() -> AdapterReward:
    roles = tiny.roles(*NAMES, heads=NAMES)
    normalizer = Normalizer((Scale(0.5, 2.0), Scale(-1.0, 0.5)), penalty=0.5)
    return AdapterReward(roles, NAMES, EXACT, normalizer, autocast=False)


def test_the_tiny_model_may_share_prompts(roles: Roles) -> None:
    assert scoring.probe(roles) == Probe(True, None, "shared and separate rows agree")


def test_scores_come_in_the_order_of_the_branches_whatever_the_batches(
    ensemble: AdapterReward,
) -> None:
    one_by_one = torch.cat(
        [
            ensemble.raw([Branches(each.prompt_ids, [ids])])
            for each in BRANCHES
            for ids in each.completions
        ],
        dim=1,
    )
    for budget in (1, 30, 1000):
        found = replace(ensemble, token_budget=budget).raw(BRANCHES)
        assert torch.allclose(found, one_by_one, atol=TOLERANCE)


def test_separate_sequences_give_the_same_scores(ensemble: AdapterReward) -> None:
    apart = replace(ensemble, probe=Probe(is_exact=False, window=None, why=""))
    assert torch.allclose(apart.raw(BRANCHES), ensemble.raw(BRANCHES), atol=TOLERANCE)


def test_an_ensemble_gives_its_mean_its_lower_bound_and_its_spread(ensemble: AdapterReward) -> None:
    raw, found = ensemble.raw(BRANCHES), ensemble.score(BRANCHES)
    first, second = (raw[0] - 0.5) / 2.0, (raw[1] + 1.0) / 0.5
    spread = (first - second).abs() / 2
    assert torch.allclose(found.raw, raw.mean(0))
    assert found.spread is not None
    assert torch.allclose(found.spread, spread, atol=TOLERANCE)
    expected = (first + second) / 2 - 0.5 * spread
    assert torch.allclose(found.normalized, expected, atol=TOLERANCE)


def test_one_model_has_no_spread(ensemble: AdapterReward) -> None:
    alone = replace(ensemble, names=("reward",), normalizer=Normalizer(), penalty=1.0)
    found = alone.score(BRANCHES)
    assert found.spread is None
    assert torch.equal(found.raw, found.normalized)


def test_scoring_keeps_no_graph_and_the_role_before(ensemble: AdapterReward) -> None:
    with ensemble.roles.role("reward-1"):
        assert not ensemble.score(BRANCHES).raw.requires_grad
        assert ensemble.roles.active == "reward-1"


def test_completions_of_one_prompt_can_be_scored_directly(ensemble: AdapterReward) -> None:
    found = scoring.score(ensemble, BRANCHES[0].prompt_ids, BRANCHES[0].completions)
    assert torch.allclose(found.raw, ensemble.score(BRANCHES).raw[:3], atol=TOLERANCE)


@pytest.mark.parametrize("merged", [False, True])
def test_a_trained_reward_model_gives_the_same_scores_in_plain_transformers(
    tmp_path: Path, merged: bool
) -> None:
    roles = Roles(tiny.loaded())
    roles.loaded = saving.save_full(roles.loaded, tmp_path / "base")
    config = RewardConfig(learning_rate=1e-2, lora=tiny.LORA, autocast=False)
    names = reward_model.prepare(roles, config)
    pairs = (PreferencePair(0, 1, 1.0), PreferencePair(1, 2, 0.0))
    judged = RankedPrompt(
        "r", tuple(BRANCHES[0].prompt_ids), tuple(map(tuple, BRANCHES[0].completions)), pairs
    )
    list(reward_model.train(roles, [judged] * 8, [], config, TrainingState()))
    saving.save_reward(roles, tmp_path / "reward", merged=merged)

    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward", num_labels=1)
    batch = batches.pad(
        [(each.prompt_ids, ids) for each in BRANCHES for ids in each.completions], roles.pad_id
    )
    with torch.no_grad():
        found = plain(input_ids=batch.input_ids, attention_mask=batch.is_real.long()).logits
    ours = AdapterReward(roles, names, scoring.probe(roles), autocast=False).raw(BRANCHES)[0]
    assert torch.allclose(found.squeeze(-1), ours, atol=1e-4)


def test_asking_nothing_is_refused(ensemble: AdapterReward) -> None:
    with pytest.raises(ValueError, match="no completion to score"):
        ensemble.score([])


def test_the_penalty_is_the_normalizers_unless_another_is_set(ensemble: AdapterReward) -> None:
    raw = ensemble.raw(BRANCHES)
    fitted = Normalizer.fit(raw, penalty=2.0)
    own = replace(ensemble, normalizer=fitted, penalty=None).score(BRANCHES)
    assert torch.equal(own.normalized, fitted.lower_bound(raw)[0])
    other = replace(ensemble, normalizer=fitted, penalty=0.0).score(BRANCHES)
    assert torch.equal(other.normalized, Normalizer.fit(raw, penalty=0.0).lower_bound(raw)[0])
    assert not torch.allclose(own.normalized, other.normalized)
