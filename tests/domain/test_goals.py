"""What each goal leads to."""

import pytest

from app.domain import goals
from app.domain.goals import OF_TRAINING, Goal, ProjectSection


@pytest.mark.parametrize("goal", Goal)
def test_only_a_project_that_trains_leads_to_what_training_needs(goal: Goal) -> None:
    led_to = goals.sections(goal)
    assert bool(led_to & OF_TRAINING) == goals.trains(goal) == (goal is Goal.TRAIN)
    assert (
        set(ProjectSection) - OF_TRAINING <= led_to
    )  # an export and a leaderboard end every project
