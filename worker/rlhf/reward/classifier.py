"""Somebody else's classifier as a reward: its own tokenizer, and the logit of one of its labels.

For example a toxicity model, with the label that means harmless. Answers are decoded to text and
read again in its tokens. Only safetensors are read and no code of a model's author is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from worker.rlhf.core import batches
from worker.rlhf.model import models
from worker.rlhf.reward.normaliser import Scale
from worker.rlhf.reward.scoring import TOKEN_BUDGET, Scores
from worker.rlhf.reward.shared_prefix import Branches

MOST_TOKENS = 512
"""Of a classifier that does not say how much it reads."""


@dataclass(frozen=True, slots=True)
class ClassifierReward:
    """The logit of `label` as the reward, on a scale that `fitted` sets.

    `writer` is the tokenizer of the model that answers. With `reads_prompt` the classifier gets
    prompt and answer as a pair of texts, else the answer alone. What it has no room for is cut off
    the end.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    label: int
    writer: PreTrainedTokenizerBase
    reads_prompt: bool = False
    scale: Scale = field(default_factory=Scale)
    token_budget: int = TOKEN_BUDGET

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the label's logit of each completion, raw and on the fitted scale."""
        raw = self.raw(branches)
        return Scores(raw, self.scale(raw))

    def fitted(self, branches: Sequence[Branches]) -> "ClassifierReward":
        """Return the same reward, mean 0 and std 1 on these answers."""
        return replace(self, scale=Scale.fit(self.raw(branches)))

    @torch.no_grad()
    def raw(self, branches: Sequence[Branches]) -> Tensor:
        """Return the label's logit of each completion, branch by branch, [N].

        Raises:
            ValueError: if nothing was asked.

        """
        rows = [self._encode(each.prompt_ids, ids) for each in branches for ids in each.completions]
        if not rows:
            raise ValueError("there is no answer to score")
        found = torch.zeros(len(rows))
        for group in batches.by_tokens([len(row[0]) for row in rows], self.token_budget):
            width = max(len(rows[index][0]) for index in group)
            ids = torch.full((len(group), width), self.model.config.pad_token_id)
            types = torch.zeros_like(ids)
            for place, index in enumerate(group):
                length = len(rows[index][0])
                ids[place, :length] = torch.tensor(rows[index][0])
                types[place, :length] = torch.tensor(rows[index][1])
            lengths = torch.tensor([len(rows[index][0]) for index in group])
            found[group] = self._logits(ids, torch.arange(width) < lengths[:, None], types)
        return found

    def _logits(self, ids: Tensor, is_real: Tensor, types: Tensor) -> Tensor:
        device = self.model.device
        more = {"token_type_ids": types.to(device)} if self._has_types else {}
        output = self.model(
            input_ids=ids.to(device), attention_mask=is_real.long().to(device), **more
        )
        logits: Tensor = output.logits[:, self.label].float().cpu()
        return logits

    @property
    def _has_types(self) -> bool:
        return "token_type_ids" in self.tokenizer.model_input_names

    def _encode(
        self, prompt_ids: Sequence[int], completion: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        answer = str(self.writer.decode(list(completion), skip_special_tokens=True))
        texts = [answer]
        if self.reads_prompt:
            texts.insert(0, str(self.writer.decode(list(prompt_ids), skip_special_tokens=True)))
        limit = most_tokens(self.model, self.tokenizer)
        found = self.tokenizer(
            *texts, truncation="longest_first", max_length=limit, return_token_type_ids=True
        )
        ids = list(found["input_ids"]) or [int(self.model.config.pad_token_id)]
        return ids, list(found["token_type_ids"]) or [0]


def load(
    path_or_name: str | Path,
    label: str,
    writer: PreTrainedTokenizerBase,
    *,
    reads_prompt: bool = False,
    device: torch.device | str = "cpu",
) -> ClassifierReward:
    """Load a sequence classifier from a folder or by its hub name, with one label as the reward.

    Raises:
        ValueError: if it has no such label; the message names those it has.
        OSError: if there is no such model, or it has no safetensors.
    """
    name = str(path_or_name)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(
        name, use_safetensors=True, trust_remote_code=False
    )
    place = label_of(model, label, name)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id or 0
    models.without_dropout(model)
    model.to(torch.device(device)).eval().requires_grad_(False)
    return ClassifierReward(model, tokenizer, place, writer, reads_prompt)


def label_of(model: PreTrainedModel, label: str, name: str) -> int:
    """Return the place of a label, given by name or number; empty means the only one.

    Raises:
        ValueError: if there is no such label, or none was named and there are several.
    """
    labels = {place: str(text) for place, text in (model.config.id2label or {}).items()}
    if not label and len(labels) == 1:
        return int(next(iter(labels)))
    for place, text in labels.items():
        if label in (text, str(place)) or label.lower() == text.lower():
            return int(place)
    known = ", ".join(labels.values())
    asked = f"no label {label!r}" if label else "several labels, of which one must be named"
    raise ValueError(f"classifier {name!r} has {asked}; it has {known}")


def most_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens a classifier reads."""
    limits = [models.context_tokens(model) or MOST_TOKENS, tokenizer.model_max_length]
    return min(int(limit) for limit in limits)
