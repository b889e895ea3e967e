"""A judge's scores as a reward: scaled on those that it gives, with the gaps filled and counted."""

from collections.abc import Sequence

import pytest

from tests.worker.rlhf import tiny
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.reward.judge_reward import JudgedResponse, JudgeReward
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.texts import TextExchange, Texts
from worker.rlhf.reward.weighted_sum import WeightedReward, WeightedSum

TURNS = (ChatMessage("user", "Hello?"),)


def branches(*texts: str) -> list[Branches]:
    ours = tiny.tokenizer()
    return [Branches([7, 8], [[*ours.encode(text), tiny.EOS] for text in texts])]


def by_length(exchanges: Sequence[TextExchange]) -> list[JudgedResponse]:
    """Score by length; refuse responses with a q."""
    assert all(exchange.messages == TURNS for exchange in exchanges)
    return [
        JudgedResponse(None, problem="a rude word")
        if "q" in exchange.response
        else JudgedResponse(float(len(exchange.response)), tokens=10)
        for exchange in exchanges
    ]


def reward() -> JudgeReward:
    return JudgeReward(by_length, Texts(tiny.tokenizer(), (tiny.EOS,), {(7, 8): TURNS}))


def test_a_response_without_a_score_counts_as_the_mean_of_the_others_and_is_counted() -> None:
    found = reward().score(branches("a", "q", "ccc"))
    assert found.raw.tolist() == [1.0, 2.0, 3.0]
    assert found.shares["unscored"].tolist() == [0.0, 1.0, 0.0]
    assert found.shares["tokens-unknown"].tolist() == [0.0, 1.0, 0.0]
    assert found.amounts["tokens"].tolist() == [10.0, 0.0, 10.0]


def test_the_scale_is_that_of_the_given_scores_alone() -> None:
    fitted = reward().fitted(branches("aa", "q", "cccc"))
    assert fitted.scale == Scale(3.0, 1.0)
    lone = fitted.score(branches("q"))
    assert (lone.raw.tolist(), lone.normalized.tolist()) == ([3.0], [0.0])


def test_a_judge_that_scores_next_to_nothing_ends_the_training() -> None:
    words = "no score for 2 of 3 responses; the last problem: a rude word"
    with pytest.raises(ValueError, match=words):
        reward().fitted(branches("a", "q", "qq"))
    with pytest.raises(ValueError, match="no score for 8 of 8 responses"):
        reward().fitted(branches("aa", "cccc")).score(branches(*["q"] * 8))
    with pytest.raises(ValueError, match="no completion to score"):
        reward().score([])


def test_in_a_sum_shares_and_tokens_have_the_name_of_the_part() -> None:
    whole = WeightedSum((WeightedReward("kind", 0.5, reward()),))
    found = whole.score(branches("a", "q"))
    assert found.shares["kind/unscored"].tolist() == [0.0, 1.0]
    assert found.amounts["kind/tokens"].tolist() == [10.0, 0.0]
