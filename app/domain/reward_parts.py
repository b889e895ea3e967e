"""What a policy's reward is made of beside the learned one, and whose word weighs how much.

Values of a plan; what they do is the worker's.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from app.domain.bounds import between, optional
from app.errors import Invalid

PATTERN_MOST = 500


class PartKind(StrEnum):
    """Who gives a part of the reward."""

    CLASSIFIER = "classifier"  # somebody else's model, by the logit of one of its labels
    LENGTH = "length"  # 0 within its bounds, minus the share outside
    FORMAT = "format"  # 1 where a pattern is found, else 0


class PairLoss(StrEnum):
    """What a reward model is trained to tell."""

    PAIRS = "pairs"  # who wins each pair
    PLACKETT_LUCE = "plackett_luce"  # the order of all


class Weighing(StrEnum):
    """How much a comparison counts in training."""

    EQUAL = "equal"
    VOTES = "votes"  # by the number of judgments behind it


@dataclass(frozen=True, slots=True)
class LabelerWeight:
    """How much one labeler's votes count, by pseudonym; 1 is like everybody else's."""

    labeler: str
    weight: float

    def __post_init__(self) -> None:
        if not self.labeler.strip():
            raise Invalid("a labeler's weight needs the labeler's name, like L3")
        between(f"weight of labeler {self.labeler}", self.weight, 0.0, 100.0)


@dataclass(frozen=True, slots=True)
class RewardPart:
    """One term of the reward's sum, `weight` times its score.

    A classifier is a folder or a hub name with a `label` (none where it has only one), brought to
    mean 0 and std 1 on the start model's answers; `reads_prompt` shows it the prompt too. A length
    is in tokens. A pattern is a regular expression looked for in the answer's text.
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
            raise Invalid(f"the {self.kind} reward weighs 0: leave it out instead")
        {
            PartKind.CLASSIFIER: self._check_classifier,
            PartKind.LENGTH: self._check_length,
            PartKind.FORMAT: self._check_pattern,
        }[PartKind(self.kind)]()

    def _check_classifier(self) -> None:
        if not self.model.strip():
            raise Invalid("a classifier as reward needs its model: a folder or a hub name")

    def _check_length(self) -> None:
        between("shortest answer of the length reward", self.shortest, 0, 1_000_000)
        optional("longest answer of the length reward", self.longest, 1, 1_000_000)
        if not self.shortest and self.longest is None:
            raise Invalid("a length reward needs a shortest or a longest answer")
        if self.longest is not None and self.longest < self.shortest:
            raise Invalid(
                f"longest answer of the length reward is {self.longest}, "
                f"below the shortest, {self.shortest}"
            )

    def _check_pattern(self) -> None:
        if not self.pattern:
            raise Invalid("a format reward needs a pattern")
        between("characters of the format reward's pattern", len(self.pattern), 1, PATTERN_MOST)
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise Invalid(f"{self.pattern!r} is not a pattern: {error}") from error
