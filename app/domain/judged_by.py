"""Whose judgments an export or a reward model uses: people's, those of AI judges, or both."""

from enum import StrEnum


class JudgedBy(StrEnum):
    """Who made the judgments; people unless something else is asked for."""

    HUMAN = "human"
    AI = "ai"
    BOTH = "both"

    @property
    def has_people(self) -> bool:
        """Whether judgments of people are used."""
        return self is not JudgedBy.AI

    @property
    def has_judges(self) -> bool:
        """Whether judgments of AI judges are used."""
        return self is not JudgedBy.HUMAN
