"""Rewards computed by rules, without a model: the length and the format of a response.

Their scores are in units of the normalized reward and are not normalized again.
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
    """0 for a response of `shortest` to `longest` tokens; outside, minus the relative deviation.

    A response of half the shortest length, or one and a half times the longest, scores -½. The EOS
    token counts.
    """

    shortest: int = 0
    longest: int | None = None

    def __post_init__(self) -> None:
        """Refuse bounds that no response or every response satisfies.

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
        """Return the score of each completion's length, branch by branch."""
        scores = torch.tensor(
            [self.of_length(len(ids)) for branch in branches for ids in branch.completions]
        )
        return Scores(scores, scores)

    def of_length(self, tokens: int) -> float:
        """Return the reward of a response of that many tokens."""
        if tokens < self.shortest:
            return tokens / self.shortest - 1.0
        if self.longest is not None and tokens > self.longest:
            return 1.0 - tokens / self.longest
        return 0.0


@dataclass(frozen=True, slots=True)
class FormatRule:
    """1 for a response that contains the pattern, else 0.

    `^…$` matches the whole response; a negative weight penalizes the pattern.
    """

    pattern: str
    writer: PreTrainedTokenizerBase

    def __post_init__(self) -> None:
        """Refuse an invalid regular expression.

        Raises:
            ValueError: with the error and its position.
        """
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"{self.pattern!r} is not a regular expression: {error}") from error

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return 1 for each completion whose text contains the pattern, else 0."""
        pattern = re.compile(self.pattern, re.DOTALL)
        texts = [
            str(self.writer.decode(list(ids), skip_special_tokens=True))
            for branch in branches
            for ids in branch.completions
        ]
        scores = torch.tensor([float(pattern.search(text) is not None) for text in texts])
        return Scores(scores, scores)
