"""An external classifier as a reward: the logit of one of its labels.

For example, a toxicity model with the label that means harmless. Completions are decoded to text
and encoded with the classifier's own tokenizer. Only safetensors files are loaded, and no remote
code is run.
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
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import TOKEN_BUDGET, Scores
from worker.rlhf.reward.shared_prefix import Branches

MOST_TOKENS = 512
"""Context of a classifier that does not specify one."""


@dataclass(frozen=True, slots=True)
class ClassifierReward:
    """The logit of `label` as the reward, on a scale that `fitted` sets.

    `writer` is the tokenizer of the model that samples the completions. With `reads_prompt`, the
    classifier gets prompt and response as a pair of texts, otherwise the response alone. Texts
    beyond its context are truncated at the end.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    label: int
    writer: PreTrainedTokenizerBase
    reads_prompt: bool = False
    scale: Scale = field(default_factory=Scale)
    token_budget: int = TOKEN_BUDGET

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the label's logit for each completion, raw and on the fitted scale."""
        raw = self.raw(branches)
        return Scores(raw, self.scale(raw))

    def fitted(self, branches: Sequence[Branches]) -> "ClassifierReward":
        """Return the same reward, normalized to mean 0 and std 1 on these completions."""
        return replace(self, scale=Scale.fit(self.raw(branches)))

    @torch.no_grad()
    def raw(self, branches: Sequence[Branches]) -> Tensor:
        """Return the label's logit for each completion, branch by branch, [N].

        Raises:
            ValueError: if there is no completion.
        """
        rows = [
            self._encode(branch.prompt_ids, ids)
            for branch in branches
            for ids in branch.completions
        ]
        if not rows:
            raise ValueError("there is no completion to score")
        label_logits = torch.zeros(len(rows))
        for group in batches.by_tokens([len(row[0]) for row in rows], self.token_budget):
            width = max(len(rows[index][0]) for index in group)
            ids = torch.full((len(group), width), self.model.config.pad_token_id)
            types = torch.zeros_like(ids)
            for row, index in enumerate(group):
                length = len(rows[index][0])
                ids[row, :length] = torch.tensor(rows[index][0])
                types[row, :length] = torch.tensor(rows[index][1])
            lengths = torch.tensor([len(rows[index][0]) for index in group])
            is_real = torch.arange(width) < lengths[:, None]
            label_logits[group] = self._label_logits(ids, is_real, types)
        return label_logits

    def _label_logits(self, ids: Tensor, is_real: Tensor, types: Tensor) -> Tensor:
        device = self.model.device
        type_arguments = {"token_type_ids": types.to(device)} if self._takes_types else {}
        output = self.model(
            input_ids=ids.to(device), attention_mask=is_real.long().to(device), **type_arguments
        )
        logits: Tensor = output.logits[:, self.label].float().cpu()
        return logits

    @property
    def _takes_types(self) -> bool:
        return "token_type_ids" in self.tokenizer.model_input_names

    def _encode(
        self, prompt_ids: Sequence[int], completion: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Return token ids and token types."""
        texts = [str(self.writer.decode(list(completion), skip_special_tokens=True))]
        if self.reads_prompt:
            texts.insert(0, str(self.writer.decode(list(prompt_ids), skip_special_tokens=True)))
        limit = most_tokens(self.model, self.tokenizer)
        encoding = self.tokenizer(
            *texts, truncation="longest_first", max_length=limit, return_token_type_ids=True
        )
        ids = list(encoding["input_ids"]) or [int(self.model.config.pad_token_id)]
        return ids, list(encoding["token_type_ids"]) or [0]


def load(
    path_or_name: str | Path,
    label: str,
    writer: PreTrainedTokenizerBase,
    *,
    reads_prompt: bool = False,
    device: torch.device | str = "cpu",
) -> ClassifierReward:
    """Load a sequence classifier from a local path or the Hub, with one label as the reward.

    Raises:
        ValueError: if it has no such label; the message lists its labels.
        OSError: if there is no such model, or it has no safetensors.
    """
    name = str(path_or_name)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(
        name, use_safetensors=True, trust_remote_code=False
    )
    label_index = label_of(model, label, name)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id or 0
    models.disable_dropout(model)
    model.to(torch.device(device)).eval().requires_grad_(False)
    return ClassifierReward(model, tokenizer, label_index, writer, reads_prompt)


def label_of(model: PreTrainedModel, label: str, name: str) -> int:
    """Return the index of a label given by name or number; empty means the only label.

    Raises:
        ValueError: if there is no such label, or it is empty and there are several.
    """
    labels = {index: str(text) for index, text in (model.config.id2label or {}).items()}
    if not label and len(labels) == 1:
        return int(next(iter(labels)))
    for index, text in labels.items():
        if label in (text, str(index)) or label.lower() == text.lower():
            return int(index)
    problem = f"no label {label!r}" if label else "several labels, of which one must be named"
    raise ValueError(f"classifier {name!r} has {problem}; it has {', '.join(labels.values())}")


def most_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of tokens that a classifier takes."""
    limits = [models.context_tokens(model) or MOST_TOKENS, tokenizer.model_max_length]
    return min(int(limit) for limit in limits)
