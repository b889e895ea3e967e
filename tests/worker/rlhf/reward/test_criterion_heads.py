"""Ratings as a reward: what their heads learn, how they make one score, what is masked."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import AbsoluteFeedback, PreferencePair, RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import criterion_heads, reward_model, scoring
from worker.rlhf.reward.criterion_heads import RatedCriterion
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.reward.shared_prefix import Branches

EXACT = 1e-6
LAST_IDS = {(True, True): 77, (True, False): 88, (False, True): 99, (False, False): 111}
CRITERIA = (RatedCriterion("helpful", 2.0, 3.0, 1.5), RatedCriterion("safe", 1.0, 4.0, 0.5))
CONFIG = RewardConfig(
    batch_rankings=4,
    evaluate_every=1,
    patience=0,
    lora=tiny.LORA,
    autocast=False,
    criteria=CRITERIA,
)


def rated(count: int, *, start: int = 0) -> list[RankedPrompt]:
    """Return rankings whose completions' last tokens say what they are rated on both criteria."""
    made = []
    for seed in range(start, start + count):
        prompt, *completions = tiny.token_ids(4, 5, 6, seed=seed)
        chosen = [(bool(bits & 1), bool(bits & 2)) for bits in (seed % 4, (seed // 4 + 1) % 4)]
        texts = tuple(
            (*ids[:-1], LAST_IDS[each]) for ids, each in zip(completions, chosen, strict=True)
        )
        absolutes = tuple(
            AbsoluteFeedback({"helpful": 1.0 + 4.0 * helpful, "safe": 3.0 + 2.0 * safe})
            for helpful, safe in chosen
        )
        made.append(RankedPrompt(f"r{seed}", prompt, texts, (), absolutes=absolutes))
    return made


def prepared(config: RewardConfig = CONFIG) -> Roles:
    roles = Roles(tiny.loaded())
    reward_model.prepare(roles, config)
    return roles


def scores_of(roles: Roles, rankings: Sequence[RankedPrompt]) -> Tensor:
    model = scoring.AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    return model.raw([Branches(each.prompt_ids, each.completions) for each in rankings])[0]


def test_the_scale_of_a_criterion_is_that_of_its_ratings() -> None:
    (one,) = rated(1)
    some = replace(
        one, absolutes=(AbsoluteFeedback({"a": 1.0}), AbsoluteFeedback({"a": 3.0, "b": 2.0}))
    )
    assert criterion_heads.fit([some], {"a": 5.0}) == (
        RatedCriterion("a", 5.0, 2.0, 1.0),
        RatedCriterion("b", 1.0, 2.0, 1.0),
    )


def test_criteria_that_all_weigh_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="helpful, safe all weigh 0"):
        criterion_heads.fit(rated(1), {"helpful": 0.0, "safe": 0.0})


def test_the_reward_is_the_weighted_mean_in_points_of_the_rating() -> None:
    predicted = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 2.0]])
    found = criterion_heads.reward_of(predicted, CRITERIA)
    expected = torch.tensor([2 * 1.5 / 3, 0.5 / 3, (-2 * 1.5 + 2 * 0.5) / 3])
    assert torch.allclose(found, expected, atol=EXACT)


def test_what_was_not_rated_costs_nothing_and_teaches_nothing() -> None:
    one, other = rated(2)
    half = replace(one, absolutes=(AbsoluteFeedback({"helpful": 4.5}), AbsoluteFeedback()))
    predicted = torch.full((4, 2), 0.5, requires_grad=True)
    loss = criterion_heads.loss_of(predicted, [half, replace(other, absolutes=())], CRITERIA)
    assert loss.tolist() == pytest.approx([0.25, 0.0])
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert predicted.grad is not None
    assert predicted.grad.nonzero().tolist() == [[0, 0]]


def test_prompts_weigh_the_same_however_many_ratings_they_have() -> None:
    one, other = rated(2)
    one = replace(one, absolutes=(AbsoluteFeedback({"helpful": 4.5, "safe": 4.5}),) * 2)
    other = replace(other, absolutes=(AbsoluteFeedback({"helpful": 4.5}), AbsoluteFeedback()))
    found = criterion_heads.loss_of(torch.zeros(4, 2), [one, other], CRITERIA)
    assert found.tolist() == pytest.approx([1.0, 1.0])


def test_a_judgments_weight_multiplies_its_error() -> None:
    (one,) = rated(1)
    heavy = replace(
        one, absolutes=(AbsoluteFeedback({"helpful": 4.5}, weight=3.0), AbsoluteFeedback())
    )
    assert criterion_heads.loss_of(torch.zeros(2, 2), [heavy], CRITERIA).tolist() == pytest.approx(
        [3.0]
    )


def test_training_learns_each_criterion_and_the_score_is_their_mean() -> None:
    config = replace(CONFIG, learning_rate=2e-2, epochs=12)
    roles = prepared(config)
    reports = list(
        reward_model.train(roles, rated(24), rated(8, start=100), config, TrainingState())
    )
    losses = [each.metrics["heldout/loss"] for each in reports]
    assert min(losses) < 0.15 * losses[0]
    held = rated(8, start=100)
    wanted = [
        (2 * each.ratings["helpful"] + each.ratings["safe"]) / 3
        for ranking in held
        for each in ranking.absolutes
    ]
    found = torch.stack([scores_of(roles, held), torch.tensor(wanted)])
    assert float(torch.corrcoef(found)[0, 1]) > 0.95


def test_a_rated_prompt_is_not_learned_again_from_the_pairs_it_implies() -> None:
    plain, implied = rated(4), []
    for one in plain:
        implied.append(replace(one, pairs=(PreferencePair(0, 1, 1.0),)))
    losses = []
    for rankings in (plain, implied):
        roles = prepared()
        run = reward_model.RewardRun(roles, rankings, [], CONFIG, TrainingState())
        losses.append(run.accumulate("reward", rankings)["loss"])
    assert losses[0] == losses[1] > 0.0


def test_pairs_beside_ratings_pull_on_the_weighted_mean() -> None:
    one, other = rated(2)
    compared = replace(other, absolutes=(), pairs=(PreferencePair(0, 1, 1.0),))
    roles = prepared()
    run = reward_model.RewardRun(roles, [one, compared], [], CONFIG, TrainingState())
    run.accumulate("reward", [compared])
    heads = criterion_heads.heads_of(roles, "reward", CRITERIA).values()
    assert all(head.grad is not None and head.grad.any() for head in heads)


def test_the_saved_reward_model_scores_the_weighted_mean_in_plain_transformers(
    tmp_path: Path,
) -> None:
    config = replace(CONFIG, learning_rate=2e-2)
    made = tiny.loaded()
    roles = Roles(saving.save_full(made, tmp_path / "base"))
    reward_model.prepare(roles, config)
    list(reward_model.train(roles, rated(8), [], config, TrainingState()))
    saving.save_reward(roles, tmp_path / "reward")
    plain = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "reward", num_labels=1, pad_token_id=0
    ).eval()
    (one,) = rated(1, start=50)
    ids = torch.tensor([[*one.prompt_ids, *one.completions[0]]])
    with torch.no_grad():
        theirs = float(plain(input_ids=ids).logits[0, 0])
    assert theirs == pytest.approx(float(scores_of(roles, [one])[0]), abs=1e-5)


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_killed_run_resumes_to_bit_equal_weights(tmp_path: Path, stop_after: int) -> None:
    config = replace(CONFIG, members=2, epochs=2, learning_rate=1e-2)
    train, heldout = rated(12), rated(3, start=50)
    roles = prepared(config)
    list(reward_model.train(roles, train, heldout, config, TrainingState()))

    killed, state = prepared(config), TrainingState()
    list(islice(reward_model.train(killed, train, heldout, config, state), stop_after))
    state.save(tmp_path)
    fresh, state = prepared(replace(config, seed=5)), TrainingState()
    state.restore(tmp_path)
    list(reward_model.train(fresh, train, heldout, config, state))
    for name in reward_model.names(2):
        for head in (name, *criterion_heads.head_names(name, CRITERIA)):
            assert torch.equal(fresh.head(head).weight, roles.head(head).weight), head
        ours, theirs = fresh.named_parameters_of(name), roles.named_parameters_of(name)
        assert all(torch.equal(ours[key], weight) for key, weight in theirs.items())
