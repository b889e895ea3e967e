"""Additional rewards of a policy, and the weights of votes and comparisons.

These are settings of a plan; applying them is left to the worker.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from app.domain.bounds import between, optional
from app.errors import Invalid

PATTERN_MOST = 500


class PartKind(StrEnum):
    """What computes an additional reward."""

    CLASSIFIER = "classifier"  # a text classifier: the logit of one of its labels
    LENGTH = "length"  # 0 within the bounds, minus the relative excess outside them
    FORMAT = "format"  # 1 if a pattern is found, else 0


class PairLoss(StrEnum):
    """The loss of a reward model."""

    PAIRS = "pairs"  # Bradley-Terry on each pair
    PLACKETT_LUCE = "plackett_luce"  # Plackett-Luce on the whole ranking


class Weighing(StrEnum):
    """The weight of a comparison in training."""

    EQUAL = "equal"
    VOTES = "votes"  # proportional to its number of judgments


class WeightSource(StrEnum):
    """The origin of a plan's labeler weights, which decides what becomes of absent labelers."""

    PLAN = "plan"  # set for this round: a labeler without votes is an error
    PROJECT = "project"  # those of the project at launch: a labeler without votes is reported


@dataclass(frozen=True, slots=True)
class LabelerWeight:
    """The weight of one labeler's votes, by pseudonym; the default weight is 1."""

    labeler: str
    weight: float

    def __post_init__(self) -> None:
        if not self.labeler.strip():
            raise Invalid("a labeler's weight needs the labeler's pseudonym, such as L3")
        between(f"weight of labeler {self.labeler}", self.weight, 0.0, 100.0)


@dataclass(frozen=True, slots=True)
class RewardPart:
    """One term of the reward: `weight` times its score.

    A classifier is a folder or a hub name, with a `label` unless it has only one. Its scores are
    normalized to mean 0 and standard deviation 1 on the initial policy's responses; with
    `reads_prompt` it sees the prompt too. Lengths are in tokens. A pattern is a regular expression
    that is searched for in the response.
    """

    kind: PartKind
    weight: float = 1.0
    model: str = ""
    label: str = ""
    reads_prompt: bool = False
    shortest: int = 0
    longest: int | None = None
    pattern: str = ""

    def __post_init__(self) -> None:
        between(f"weight of the {self.kind} reward", self.weight, -100.0, 100.0)
        if self.weight == 0.0:
            raise Invalid(f"the {self.kind} reward has weight 0; leave it out instead")
        {
            PartKind.CLASSIFIER: self._check_classifier,
            PartKind.LENGTH: self._check_length,
            PartKind.FORMAT: self._check_pattern,
        }[PartKind(self.kind)]()

    def _check_classifier(self) -> None:
        if not self.model.strip():
            raise Invalid("a classifier reward needs a model: a folder or a hub name")

    def _check_length(self) -> None:
        between("shortest response of the length reward", self.shortest, 0, 1_000_000)
        optional("longest response of the length reward", self.longest, 1, 1_000_000)
        if not self.shortest and self.longest is None:
            raise Invalid("a length reward needs a shortest or a longest response")
        if self.longest is not None and self.longest < self.shortest:
            raise Invalid(
                f"longest response of the length reward is {self.longest}, "
                f"below the shortest, {self.shortest}"
            )

    def _check_pattern(self) -> None:
        if not self.pattern:
            raise Invalid("a format reward needs a pattern")
        between("characters of the format reward's pattern", len(self.pattern), 1, PATTERN_MOST)
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise Invalid(f"{self.pattern!r} is not a regular expression: {error}") from error
