"""A reward model of another training as a reward, on the same base or one of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from worker.rlhf.model import template
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import AdapterReward, Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.texts import TextExchange, Texts


@dataclass(frozen=True, slots=True)
class OtherReward:
    """The mean raw score of reward adapters as the reward, on a scale that `fitted` sets.

    `texts` is set if the adapters' base is not the model that samples: conversations are then
    tokenized again, with the template of that base.
    """

    inner: AdapterReward
    texts: Texts | None = None
    scale: Scale = field(default_factory=Scale)

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the score of each completion, raw and on the fitted scale."""
        raw = self.raw(branches)
        return Scores(raw, self.scale(raw))

    def fitted(self, branches: Sequence[Branches]) -> "OtherReward":
        """Return the same reward, normalized to mean 0 and std 1 on these completions."""
        return replace(self, scale=Scale.fit(self.raw(branches)))

    def raw(self, branches: Sequence[Branches]) -> Tensor:
        """Return the mean raw score of each completion, branch by branch, [N]."""
        if self.texts is not None:
            branches = [self._encode(exchange) for exchange in self.texts.exchanges(branches)]
        return self.inner.raw(branches).mean(0)

    def _encode(self, exchange: TextExchange) -> Branches:
        own = self.inner.roles.loaded
        text = template.render_prompt(own.tokenizer, exchange.messages, own.chat)
        prompt = template.encode_prompt(own.tokenizer, text)
        response = template.encode_response(own, exchange.response, finished=exchange.is_finished)
        return Branches(prompt, [response or [own.end_id]])
