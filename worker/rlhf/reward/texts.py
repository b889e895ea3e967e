"""Prompts and responses as text, for rewards that read text with a tokenizer of their own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from worker.rlhf.model import template
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.reward.shared_prefix import Branches


@dataclass(frozen=True, slots=True)
class TextExchange:
    """A conversation and the response to it; `is_finished` if the response ended by itself."""

    messages: tuple[ChatMessage, ...]
    response: str
    is_finished: bool


@dataclass(frozen=True, slots=True)
class Texts:
    """What the token ids of the model that samples say.

    `end_ids` are the tokens that end its responses. `conversations` has the turns of each prompt,
    by its ids: they cannot be recovered from ids in which a template has joined them.
    """

    writer: PreTrainedTokenizerBase
    end_ids: tuple[int, ...]
    conversations: Mapping[tuple[int, ...], tuple[ChatMessage, ...]] = field(default_factory=dict)

    def exchanges(self, branches: Sequence[Branches]) -> Iterator[TextExchange]:
        """Yield each completion with its prompt, branch by branch.

        Raises:
            ValueError: if the turns of a prompt are not known.
        """
        for branch in branches:
            messages = self._messages(branch.prompt_ids)
            for ids in branch.completions:
                is_finished = bool(ids) and ids[-1] in self.end_ids
                yield TextExchange(messages, template.decode(self.writer, ids), is_finished)

    def _messages(self, prompt_ids: Sequence[int]) -> tuple[ChatMessage, ...]:
        messages = self.conversations.get(tuple(prompt_ids))
        if messages is None:
            text = template.decode(self.writer, prompt_ids)
            raise ValueError(f"the turns of a prompt are not known: {text[:60]!r}")
        return messages
