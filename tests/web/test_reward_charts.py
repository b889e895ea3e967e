"""The parts of a combined reward are drawn by themselves, and only where there are several."""

from app.domain.reward_parts import PartKind, RewardPart
from app.domain.reward_plan import Combination, RewardPlan
from app.web import reward_charts

SAFE = RewardPart(PartKind.REWARD_MODEL, name="safety", model="m")
BOTH = RewardPlan(
    parts=(SAFE, RewardPart(PartKind.LENGTH, longest=9)),
    combination=Combination.SAFETY_FIRST,
    safety="safety",
)


def test_each_part_has_a_chart_with_training_and_held_out_lines() -> None:
    names = reward_charts.names(BOTH)
    drawn = reward_charts.charts(BOTH, dict.fromkeys(names, ((1.0, 0.5), (2.0, 0.6))))
    assert [chart.title for chart in drawn] == [
        "Reward: learned",
        "Reward: safety",
        "Reward: length-2",
        "Judged by safety",
    ]
    assert all(len(chart.lines) == 2 and not chart.is_empty for chart in drawn)
    assert "rule" in drawn[2].note
    assert "initial policy" in drawn[1].note


def test_a_reward_of_one_part_has_no_chart_of_its_parts() -> None:
    (share,) = reward_charts.charts(RewardPlan(), {})
    assert share.is_empty
