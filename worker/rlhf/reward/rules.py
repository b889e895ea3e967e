"""Rules as rewards: how long an answer may be, and what it must look like. No model is asked.

Their scores are in units of the normalised reward and are not scaled again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from worker.rlhf.reward.scoring import Scores
from worker.rlhf.reward.shared_prefix import Branches


@dataclass(frozen=True, slots=True)
class LengthRule:
    """0 for an answer of `shortest` to `longest` tokens; outside, minus the share it is off by.

    Half the least length or half as long again as the greatest both cost ½. The end token counts.
    """

    shortest: int = 0
    longest: int | None = None

    def __post_init__(self) -> None:
        """Refuse bounds that no answer or every answer keeps.

        Raises:
            ValueError: naming the bounds.
        """
        if self.shortest < 0 or (self.longest is not None and self.longest < 1):
            raise ValueError(f"lengths must be positive, not {self.shortest} to {self.longest}")
        if self.longest is not None and self.longest < self.shortest:
            raise ValueError(f"longest length {self.longest} is below the shortest {self.shortest}")
        if not self.shortest and self.longest is None:
            raise ValueError("a length rule needs a shortest or a longest length")

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return minus how far each completion is outside the bounds."""
        found = torch.tensor(
            [self.of_length(len(ids)) for each in branches for ids in each.completions]
        )
        return Scores(found, found)

    def of_length(self, tokens: int) -> float:
        """Return the reward of an answer of that many tokens."""
        if tokens < self.shortest:
            return tokens / self.shortest - 1.0
        if self.longest is not None and tokens > self.longest:
            return 1.0 - tokens / self.longest
        return 0.0


@dataclass(frozen=True, slots=True)
class FormatRule:
    """1 for an answer in which the pattern is found, else 0.

    Write `^…$` for a pattern of the whole answer, and a negative weight for what must not occur.
    """

    pattern: str
    writer: PreTrainedTokenizerBase

    def __post_init__(self) -> None:
        """Refuse what is no pattern.

        Raises:
            ValueError: with the place of the fault.
        """
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"{self.pattern!r} is not a pattern: {error}") from error

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return whether the pattern is in each completion's text."""
        wanted = re.compile(self.pattern, re.DOTALL)
        texts = [
            str(self.writer.decode(list(ids), skip_special_tokens=True))
            for each in branches
            for ids in each.completions
        ]
        found = torch.tensor([float(wanted.search(text) is not None) for text in texts])
        return Scores(found, found)
