"""A published reward model: a sequence classifier with one label that reads conversations.

It reads the conversation in its own chat template, or, without one, the prompt and the response as
a pair of texts. Reward models that score several attributes are `classifier`s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import jinja2
import torch
from torch import Tensor

from worker.rlhf.model.template import ChatMessage
from worker.rlhf.reward import sequence_classifiers
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import TOKEN_BUDGET, Scores, truncated
from worker.rlhf.reward.sequence_classifiers import Encoded, SequenceClassifier
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.texts import TextExchange, Texts


@dataclass(frozen=True, slots=True)
class PublishedReward:
    """The only logit of a reward model as the reward, on a scale that `fitted` sets.

    A conversation beyond its context loses its beginning, since the response is at the end; the
    share of those is reported.
    """

    model: SequenceClassifier
    texts: Texts
    scale: Scale = field(default_factory=Scale)
    token_budget: int = TOKEN_BUDGET

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the logit of each completion, raw and on the fitted scale."""
        rows = self._encoded(branches)
        raw = self.model.logits(rows, self.token_budget)[:, 0]
        return Scores(raw, self.scale(raw), shares=truncated([row.is_truncated for row in rows]))

    def fitted(self, branches: Sequence[Branches]) -> "PublishedReward":
        """Return the same reward, normalized to mean 0 and std 1 on these completions."""
        return replace(self, scale=Scale.fit(self.raw(branches)))

    def raw(self, branches: Sequence[Branches]) -> Tensor:
        """Return the logit of each completion, branch by branch, [N]."""
        return self.model.logits(self._encoded(branches), self.token_budget)[:, 0]

    def _encoded(self, branches: Sequence[Branches]) -> list[Encoded]:
        return [self._encode(exchange) for exchange in self.texts.exchanges(branches)]

    def _encode(self, exchange: TextExchange) -> Encoded:
        tokenizer = self.model.tokenizer
        if tokenizer.chat_template is None:
            prompt = "\n\n".join(message.content for message in exchange.messages)
            return self.model.encode(prompt, exchange.response)
        text = _rendered(self.model, exchange)
        ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        most = self.model.most_tokens
        return Encoded(ids[-most:], [0] * min(len(ids), most), len(ids) > most)


def load(name: str, texts: Texts, *, device: torch.device | str = "cpu") -> PublishedReward:
    """Load a reward model from a local path or the Hub.

    Raises:
        ValueError: if it is no classifier with one label, or its weights have no trained head.
        OSError: if there is no such model, or it has no safetensors.
    """
    check(name)
    return PublishedReward(sequence_classifiers.load(name, device), texts)


def check(name: str) -> None:
    """Refuse a model that is no reward model, from its configuration alone.

    Raises:
        ValueError: as in `load`.
        OSError: if there is no such model.
    """
    labels = len(sequence_classifiers.config_of(name).id2label or {})
    if labels != 1:
        raise ValueError(
            f"{name!r} has {labels} labels and a reward model has one; "
            "use it as a classifier, with one of its labels"
        )


def _rendered(model: SequenceClassifier, exchange: TextExchange) -> str:
    """Render a conversation in the model's template; a system turn it refuses is folded in."""
    messages = exchange.messages
    try:
        return _apply(model, messages, exchange.response)
    except jinja2.TemplateError as error:
        if messages[0].role == "system" and len(messages) > 1:
            return _apply(model, _folded(messages), exchange.response)
        raise ValueError(
            f"the chat template of {model.name!r} refuses a conversation: {error}"
        ) from error


def _apply(model: SequenceClassifier, messages: Sequence[ChatMessage], response: str) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    turns.append({"role": "assistant", "content": response})
    return str(model.tokenizer.apply_chat_template(turns, tokenize=False))


def _folded(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    system, first, *others = messages
    return [ChatMessage(first.role, f"{system.content}\n\n{first.content}"), *others]
