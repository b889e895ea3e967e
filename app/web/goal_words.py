"""What a project can be for, as pages word it."""

from dataclasses import dataclass
from typing import Final

from app.domain.goals import Goal


@dataclass(frozen=True, slots=True)
class GoalWords:
    """A goal in words: its title, and what a project with it ends in."""

    goal: Goal
    title: str
    sentence: str


GOALS: Final = (
    GoalWords(
        Goal.COLLECT,
        "Collect preferences",
        "People judge responses that you import. You export their judgments as a data set.",
    ),
    GoalWords(
        Goal.COMPARE,
        "Compare models",
        "Import responses of several models, or votes on them. A leaderboard says which model "
        "people prefer, and how sure that is.",
    ),
    GoalWords(
        Goal.TRAIN,
        "Train in rounds",
        "A model responds to your prompts, people judge its responses, and it is trained on their "
        "judgments, round after round.",
    ),
)


def title(goal: Goal) -> str:
    """Return a goal's title."""
    return next(words.title for words in GOALS if words.goal is goal)
