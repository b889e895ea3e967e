"""The examples that training and sampling take and give: token ids and numbers.

No rows, no files. Every type refuses what no loop can use. Where the ids come from is `template`;
how they become tensors is `batches`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

FinishReason = Literal["eos", "length"]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with the answer to imitate.

    `response_ids` ends with the end token if the answer is finished.
    """

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse an empty prompt or an empty response.

        Raises:
            ValueError: if either has no token.
        """
        _refuse_empty("demonstration", "prompt", self.prompt_ids)
        _refuse_empty("demonstration", "response", self.response_ids)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one ranking, by index, and how much people preferred the first.

    `share` is the probability that `first` is preferred: 1 and 0 are unanimous, 0.5 is a tie.
    `margin` is the least score difference wanted; `weight` multiplies the pair's loss. `strength`
    is only reported by.
    """

    first: int
    second: int
    share: float
    margin: float = 0.0
    weight: float = 1.0
    strength: float | None = None

    def __post_init__(self) -> None:
        """Refuse a pair that no loss is defined for.

        Raises:
            ValueError: if a completion is paired with itself, the share is outside [0, 1], or the
                margin or weight is negative or not finite.
        """
        if self.first == self.second:
            raise ValueError(f"pair compares completion {self.first} with itself")
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"pair share must lie in [0, 1], got {self.share}")
        for name, value in (("margin", self.margin), ("weight", self.weight)):
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"pair {name} must be finite and not negative, got {value}")


@dataclass(frozen=True, slots=True)
class Absolute:
    """What people said of one completion by itself, whatever it was shown beside.

    `ratings` are the mean ratings by criterion, as people gave them; a criterion that is missing
    was not rated. `thumb` is the share of thumbs up. `weight` multiplies the loss.
    """

    ratings: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    thumb: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no loss is defined for.

        Raises:
            ValueError: if a rating is not finite, the thumb outside [0, 1], or the weight negative
                or not finite.
        """
        for name, rating in self.ratings.items():
            if not math.isfinite(rating):
                raise ValueError(f"rating of {name!r} must be finite, got {rating}")
        if self.thumb is not None and not 0.0 <= self.thumb <= 1.0:
            raise ValueError(f"share of thumbs up must lie in [0, 1], got {self.thumb}")
        if not (math.isfinite(self.weight) and self.weight >= 0.0):
            raise ValueError(f"weight must be finite and not negative, got {self.weight}")


@dataclass(frozen=True, slots=True)
class Ranking:
    """One prompt, its K completions, and what people judged of them: pairs, or each by itself.

    `key` names the prompt; splits are made by it. `absolutes` has one entry per completion or none.
    A report breaks results down by `group` (the round), by each pair's strength, and by the
    `sources` of its two completions where they are given.
    """

    key: str
    prompt_ids: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    pairs: tuple[Pair, ...]
    group: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    absolutes: tuple[Absolute, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Whether there is anything to learn from."""
        return bool(self.pairs) or any(
            each.ratings or each.thumb is not None for each in self.absolutes
        )

    def __post_init__(self) -> None:
        """Refuse empty sequences and pairs that name a completion that is not there.

        Raises:
            ValueError: naming the ranking, the rule and the value.
        """
        _refuse_empty(f"ranking {self.key!r}", "prompt", self.prompt_ids)
        for index, completion in enumerate(self.completions):
            _refuse_empty(f"ranking {self.key!r}", f"completion {index}", completion)
        for pair in self.pairs:
            for index in (pair.first, pair.second):
                if not 0 <= index < len(self.completions):
                    raise ValueError(
                        f"ranking {self.key!r} has {len(self.completions)} completions, "
                        f"a pair names completion {index}"
                    )
        for name in ("absolutes", "sources"):
            given = len(getattr(self, name))
            if given not in (0, len(self.completions)):
                raise ValueError(
                    f"ranking {self.key!r} has {len(self.completions)} completions "
                    f"and {given} {name}"
                )


@dataclass(frozen=True, slots=True)
class PromptItem:
    """A prompt to answer; `key` also seeds its completions."""

    key: str
    prompt_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse an empty prompt.

        Raises:
            ValueError: if it has no token.
        """
        _refuse_empty(f"prompt {self.key!r}", "prompt", self.prompt_ids)


@dataclass(frozen=True, slots=True)
class Completion:
    """A sampled answer: the very ids that were drawn, with their log-probabilities in nats.

    The ids are what training uses; `text` is for people, and tokenising it again may give other
    ids.
    """

    prompt_key: str
    sample_index: int
    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    logprob_sum: float
    logprobs: tuple[float, ...]


def _refuse_empty(owner: str, part: str, ids: tuple[int, ...]) -> None:
    if not ids:
        raise ValueError(f"{owner}: the {part} has no token")
