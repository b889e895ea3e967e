import pytest
import torch

from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import AbsoluteFeedback, RankedPrompt
from worker.rlhf.reward import criterion_heads, rating_report, scoring
from worker.rlhf.reward.criterion_heads import RatedCriterion
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches

CRITERIA = (RatedCriterion("kind", 1.0, 3.0, 2.0), RatedCriterion("brief", 3.0, 1.0, 1.0))
RANKINGS = [
    RankedPrompt(
        "a",
        (5,),
        ((6,), (7, 8)),
        (),
        absolutes=(AbsoluteFeedback({"kind": 5.0}), AbsoluteFeedback()),
    ),
    RankedPrompt("b", (5,), ((6, 9),), (), absolutes=(AbsoluteFeedback({"kind": 1.0}),)),
]


def test_errors_are_in_points_of_the_rating_and_count_what_was_rated() -> None:
    predicted = torch.tensor([[0.5, 0.0], [9.0, 9.0], [-1.0, 0.0]])
    (found,) = rating_report.report(predicted, RANKINGS, CRITERIA)
    assert (found.criterion, found.ratings) == ("kind", 2)
    assert found.rmse == pytest.approx((1.0 / 2) ** 0.5)
    assert found.rmse_of_mean == pytest.approx(2.0)
    assert found.correlation == pytest.approx(1.0)


def test_a_prediction_that_never_varies_correlates_with_nothing() -> None:
    (found,) = rating_report.report(torch.zeros(3, 2), RANKINGS, CRITERIA)
    assert found.correlation == 0.0
    assert found.rmse == found.rmse_of_mean


@pytest.mark.parametrize("budget", [1, 1000])
def test_an_ensemble_predicts_the_mean_in_the_order_of_the_rankings(budget: int) -> None:
    roles = tiny.roles("reward", "reward-1", heads=("reward", "reward-1"))
    names = ("reward", "reward-1")
    for seed, name in enumerate(names):
        criterion_heads.add_heads(roles, name, CRITERIA, seed=10 * seed)
    reward = AdapterReward(roles, names, scoring.probe(roles), autocast=False, token_budget=budget)
    found = rating_report.predict(reward, RANKINGS, CRITERIA)
    branches = [Branches(each.prompt_ids, each.completions) for each in RANKINGS]
    assert torch.allclose(
        criterion_heads.reward_of(found, CRITERIA), reward.raw(branches).mean(0), atol=1e-5
    )
