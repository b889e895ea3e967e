"""Best of n: the winners are the best, and imitating them moves the policy towards the reward."""

import math

import pytest

from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import best_of_n
from worker.rlhf.policy.best_of_n import BestOfNConfig
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft.finetuning import SftConfig

SAMPLING = SamplingConfig(n=4, max_new_tokens=6)
CONFIG = BestOfNConfig(
    SAMPLING,
    SftConfig(epochs=8, batch_size=8, learning_rate=2e-2, lora=tiny.LORA, autocast=False),
)


def test_a_winner_is_the_best_of_its_prompts_completions() -> None:
    roles, items = Roles(tiny.loaded()), prompts(5)
    completions = list(sampling.generate(roles, items, SAMPLING))
    for winner in best_of_n.winners(roles, items, LikesOneSide(), SAMPLING):
        own = [each.token_ids for each in completions if each.prompt_key == winner.prompt.key]
        scores = LikesOneSide().score([Branches(winner.prompt.prompt_ids, own)]).normalized
        assert winner.reward == pytest.approx(float(scores.max()))
        assert winner.lead == pytest.approx(float(scores.max() - scores.mean()), abs=1e-6)
        assert winner.completion.token_ids in own


def test_winners_do_not_depend_on_the_policy_in_training() -> None:
    plain, moved = Roles(tiny.loaded()), tiny.roles("policy", moved=0.5)
    with moved.role("policy"):
        found = best_of_n.winners(moved, prompts(3), LikesOneSide(), SAMPLING)
    assert found == best_of_n.winners(plain, prompts(3), LikesOneSide(), SAMPLING)


def test_imitating_winners_raises_the_reward() -> None:
    roles = Roles(tiny.loaded())
    reports = list(best_of_n.train(roles, prompts(24), LikesOneSide(), CONFIG, TrainingState()))
    assert reports[0].metrics["reward/lead"] > 0.0
    means = []
    for role in ("reference", "policy"):
        completions = list(sampling.generate(roles, prompts(24, start=100), SAMPLING, role=role))
        branches = [Branches([1], [each.token_ids for each in completions])]
        means.append(float(LikesOneSide().score(branches).normalized.mean()))
    assert means[1] > means[0] + 0.2


def test_the_kl_bound_is_zero_for_one_completion_and_grows_slowly() -> None:
    assert best_of_n.kl_bound(1) == 0.0
    assert best_of_n.kl_bound(16) == pytest.approx(math.log(16) - 15 / 16)


def test_no_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        best_of_n.winners(Roles(tiny.loaded()), [], LikesOneSide(), SAMPLING)
