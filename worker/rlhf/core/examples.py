"""Inputs and outputs of training and sampling as token ids and numbers.

Each type refuses values that no loop can use. `template` makes the ids; `batches` turns them into
tensors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

FinishReason = Literal["eos", "length"]


@dataclass(frozen=True, slots=True)
class TokenizedDemonstration:
    """A prompt with the response to imitate.

    `response_ids` ends with the EOS token if the response is complete.
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
class PreferencePair:
    """Two completions of one prompt, by index, and the share of judgments that prefer the first.

    `share` is the probability that `first` is preferred: 1 and 0 are unanimous, 0.5 is a tie.
    `margin` is the score difference to reach; `weight` multiplies the pair's loss. `strength` only
    groups results in reports.
    """

    first: int
    second: int
    share: float
    margin: float = 0.0
    weight: float = 1.0
    strength: float | None = None

    def __post_init__(self) -> None:
        """Refuse a pair for which no loss is defined.

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
class AbsoluteFeedback:
    """Judgments of one completion by itself: ratings and thumbs, averaged over labelers.

    `ratings` holds the mean rating of each rated criterion on the labelers' scale. `thumb` is the
    share of thumbs up. `weight` multiplies the loss.
    """

    ratings: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    thumb: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values for which no loss is defined.

        Raises:
            ValueError: if a rating is not finite, the thumb is outside [0, 1], or the weight is
                negative or not finite.
        """
        for name, rating in self.ratings.items():
            if not math.isfinite(rating):
                raise ValueError(f"rating of {name!r} must be finite, got {rating}")
        if self.thumb is not None and not 0.0 <= self.thumb <= 1.0:
            raise ValueError(f"share of thumbs up must lie in [0, 1], got {self.thumb}")
        if not (math.isfinite(self.weight) and self.weight >= 0.0):
            raise ValueError(f"weight must be finite and not negative, got {self.weight}")


@dataclass(frozen=True, slots=True)
class RankedPrompt:
    """A prompt with its K completions and their judgments, as pairs or one by one.

    `key` identifies the prompt and determines its split. `absolutes` has one entry per completion
    or none. Reports group results by `group` (the round), by the strength of each pair, and by the
    `sources` of its two completions if given. Completions of a follow-up begin with the turns that
    lead up to it, which are prompt, not response: `leads` counts their tokens, or is empty.
    """

    key: str
    prompt_ids: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    pairs: tuple[PreferencePair, ...]
    group: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    absolutes: tuple[AbsoluteFeedback, ...] = ()
    sources: tuple[str, ...] = ()
    leads: tuple[int, ...] = ()

    @property
    def sequences(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The prompt and the response of each completion."""
        leads = self.leads or (0,) * len(self.completions)
        return [
            (self.prompt_ids + ids[:lead], ids[lead:])
            for ids, lead in zip(self.completions, leads, strict=True)
        ]

    @property
    def is_judged(self) -> bool:
        """Whether there is any judgment to learn from."""
        return bool(self.pairs) or any(
            feedback.ratings or feedback.thumb is not None for feedback in self.absolutes
        )

    def __post_init__(self) -> None:
        """Refuse empty sequences and pairs that refer to a missing completion.

        Raises:
            ValueError: naming the ranked prompt, the rule and the value.
        """
        name = f"ranked prompt {self.key!r}"
        _refuse_empty(name, "prompt", self.prompt_ids)
        for index, completion in enumerate(self.completions):
            _refuse_empty(name, f"completion {index}", completion)
        for pair in self.pairs:
            for index in (pair.first, pair.second):
                if not 0 <= index < len(self.completions):
                    raise ValueError(
                        f"{name} has {len(self.completions)} completions, "
                        f"but a pair refers to completion {index}"
                    )
        for index, lead in enumerate(self.leads):
            if not 0 <= lead < len(self.completions[index]):
                raise ValueError(f"{name}: completion {index} has no token after its {lead} first")
        for field_name in ("absolutes", "sources", "leads"):
            count = len(getattr(self, field_name))
            if count not in (0, len(self.completions)):
                raise ValueError(
                    f"{name} has {len(self.completions)} completions and {count} {field_name}"
                )


@dataclass(frozen=True, slots=True)
class PromptItem:
    """A prompt to complete; `key` also seeds its completions.

    `text` is what people read in its place, without the tokens of a chat template; empty where
    nobody reads it.
    """

    key: str
    prompt_ids: tuple[int, ...]
    text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Refuse an empty prompt.

        Raises:
            ValueError: if it has no token.
        """
        _refuse_empty(f"prompt {self.key!r}", "prompt", self.prompt_ids)


@dataclass(frozen=True, slots=True)
class SampledCompletion:
    """A sampled completion: the token ids as drawn, with their log-probabilities in nats.

    Training uses the ids; `text` is for display, and tokenizing it again may give other ids.
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
