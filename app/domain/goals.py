"""What a project is for, and which of its pages that leads to.

A goal decides what pages lead to and speak of, never what is possible: every address works in every
project, and a change of the goal deletes nothing.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Goal(StrEnum):
    """What a project is for."""

    COLLECT = "collect"  # preferences, which end in an export
    COMPARE = "compare"  # models, which ends in a leaderboard
    TRAIN = "train"  # models in rounds, on what labelers judge


class ProjectSection(StrEnum):
    """A part of a project that its navigation can lead to."""

    OVERVIEW = "overview"
    PROMPTS = "prompts"
    COMPARISONS = "comparisons"
    AGREEMENT = "agreement"
    LABELERS = "labelers"
    GUIDELINES = "guidelines"
    ROUNDS = "rounds"
    MODELS = "models"
    EVALUATIONS = "evaluations"
    LEADERBOARD = "leaderboard"
    EXPORTS = "exports"
    SETTINGS = "settings"


OF_TRAINING: Final = frozenset(
    {ProjectSection.ROUNDS, ProjectSection.MODELS, ProjectSection.EVALUATIONS}
)
"""The parts that only a project in training has a use for."""

_SECTIONS: Final[Mapping[Goal, frozenset[ProjectSection]]] = {
    Goal.COLLECT: frozenset(ProjectSection) - OF_TRAINING,
    Goal.COMPARE: frozenset(ProjectSection) - OF_TRAINING,
    Goal.TRAIN: frozenset(ProjectSection),
}


def trains(goal: Goal) -> bool:
    """Return whether models are trained: only then do pages speak of rounds and demonstrations."""
    return goal is Goal.TRAIN


def sections(goal: Goal) -> frozenset[ProjectSection]:
    """Return the parts of a project that its navigation leads to."""
    return _SECTIONS[goal]
