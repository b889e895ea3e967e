"""Scores of responses as texts, by anything that can be a part of a reward.

Scores are in the scorer's own unit, such as a probability: nothing is normalized.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerBase

from app.domain import chat_settings, reward_parts
from app.domain.reward_parts import RewardPart
from app.errors import Invalid
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.reward import plain_texts
from worker.rlhf.reward.judge_reward import UNSCORED
from worker.rlhf.reward.rule_rewards import LengthRule
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.reward.shared_prefix import Branches
from worker.training import reward_sources, token_ids
from worker.training.reward_sources import RewardReading, RewardSources

BATCH: Final = 64  # responses between two reports

Turns = Sequence[Mapping[str, Any]]
TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScoredText:
    """A prompt's turns with a response; `tokens` is its length where a model here wrote it."""

    messages: Turns
    text: str
    tokens: int | None = None
    is_finished: bool = True


@dataclass(slots=True)
class Scorer:
    """A part of a reward that scores texts; `truncated` counts those it could not read whole.

    `unscored` counts those of which it gave no score, as a judge whose reply cannot be read.
    """

    title: str
    function: RewardFunction
    tokenizer: PreTrainedTokenizerBase
    conversations: dict[TokenIds, tuple[ChatMessage, ...]]
    instruction: str = ""
    thought_end: str = ""
    count: Callable[[str], int] | None = None
    truncated: int = 0
    unscored: int = 0

    @property
    def remarks(self) -> list[str]:
        """What was not read whole, or not scored."""
        remarks = []
        if self.truncated:
            remarks.append(f"{self.truncated} responses were too long for the scorer and cut")
        if self.unscored:
            remarks.append(
                f"{self.unscored} responses have no score: the judge refused, or neither of its "
                "two replies could be read; score them again, or with another judge"
            )
        return remarks

    def score(self, responses: Sequence[ScoredText]) -> list[float | None]:
        """Return the raw score of each response; None where a judge gave none.

        Raises:
            Invalid: a length is not known, or a score is not a finite number.
        """
        if isinstance(self.function, LengthRule):
            return [self.function.of_length(self._length(response)) for response in responses]
        self.conversations.clear()
        scores = self.function.score([self._branches(response) for response in responses])
        self.truncated += int(scores.shares.get("truncated", torch.zeros(1)).sum())
        raw = [float(score) for score in scores.raw]
        missing = scores.shares.get(UNSCORED, torch.zeros(len(raw))).bool().tolist()
        self.unscored += sum(missing)
        for score, response in zip(raw, responses, strict=True):
            if not isfinite(score):
                raise Invalid(
                    f"the {self.title} scored a response as {score}: {response.text[:60]!r}"
                )
        return [None if gone else score for score, gone in zip(raw, missing, strict=True)]

    def _branches(self, response: ScoredText) -> Branches:
        messages = token_ids.chat_messages(response.messages, self.instruction)
        prompt = plain_texts.ids_of("\n\n".join(turn.content for turn in messages))
        # Prompts of the same text in other turns must stay apart: rewards find turns by these ids.
        while self.conversations.setdefault(prompt, messages) != messages:
            prompt = (*prompt, ord(" "))
        end = int(self.tokenizer.eos_token_id) if response.is_finished else None
        text = chat_settings.without_reasoning(response.text, self.thought_end)
        return Branches(prompt, [plain_texts.ids_of(text, end)])

    def _length(self, response: ScoredText) -> int:
        if response.tokens is not None:
            return response.tokens
        if self.count is None:
            raise Invalid(
                "a length rule counts tokens, and it is not known which model's; "
                "name the model whose tokens count"
            )
        return self.count(response.text) + response.is_finished


def open_scorer(
    part: RewardPart,
    sources: RewardSources,
    *,
    device: str = "cpu",
    instruction: str = "",
    thought_end: str = "",
    count: Callable[[str], int] | None = None,
) -> Scorer:
    """Load what scores the responses.

    Args:
        part: the classifier, reward model, endpoint, judge or rule; its weight is not used.
        sources: of reward models by name, and of endpoints.
        device: for models.
        instruction: added to every prompt, as when the responses were sampled.
        thought_end: the mark that ends reasoning, which is not scored; "" if there is none.
        count: counts the tokens of a text, for rules about length.

    Raises:
        Invalid: it cannot be used; the message says why.
    """
    tokenizer = plain_texts.tokenizer()
    conversations: dict[TokenIds, tuple[ChatMessage, ...]] = {}
    reading = RewardReading(None, device, conversations, tokenizer=tokenizer)
    title = part.name or reward_parts.described(part)
    function = reward_sources.build(part, title, sources, reading)
    return Scorer(title, function, tokenizer, conversations, instruction, thought_end, count)
