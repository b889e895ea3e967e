"""An external classifier as a reward: the logit or the probability of one of its labels.

For example, a toxicity model with the label that means harmless. Completions are decoded to text
and encoded with the classifier's own tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from worker.rlhf.reward import sequence_classifiers
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import TOKEN_BUDGET, Scores, truncated
from worker.rlhf.reward.sequence_classifiers import Encoded, SequenceClassifier
from worker.rlhf.reward.shared_prefix import Branches

ScoreForm = Literal["logit", "probability"]


@dataclass(frozen=True, slots=True)
class ClassifierReward:
    """The score of `label` as the reward, on a scale that `fitted` sets.

    `writer` is the tokenizer of the model that samples the completions. With `reads_prompt`, the
    classifier gets prompt and response as a pair of texts, otherwise the response alone. Texts
    beyond its context are truncated at the end; their share is reported.
    """

    classifier: SequenceClassifier
    label: int
    writer: PreTrainedTokenizerBase
    reads_prompt: bool = False
    form: ScoreForm = "logit"
    scale: Scale = field(default_factory=Scale)
    token_budget: int = TOKEN_BUDGET

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the label's score for each completion, raw and on the fitted scale."""
        rows = self._encoded(branches)
        raw = self._raw(rows)
        return Scores(raw, self.scale(raw), shares=truncated([row.is_truncated for row in rows]))

    def fitted(self, branches: Sequence[Branches]) -> "ClassifierReward":
        """Return the same reward, normalized to mean 0 and std 1 on these completions."""
        return replace(self, scale=Scale.fit(self.raw(branches)))

    def raw(self, branches: Sequence[Branches]) -> Tensor:
        """Return the label's score for each completion, branch by branch, [N].

        Raises:
            ValueError: if there is no completion.
        """
        return self._raw(self._encoded(branches))

    def _raw(self, rows: Sequence[Encoded]) -> Tensor:
        logits = self.classifier.logits(rows, self.token_budget)
        if self.form == "logit":
            return logits[:, self.label]
        return probabilities(logits, self.classifier.model.config)[:, self.label]

    def _encoded(self, branches: Sequence[Branches]) -> list[Encoded]:
        return [
            self.classifier.encode(*self._texts(branch.prompt_ids, ids))
            for branch in branches
            for ids in branch.completions
        ]

    def _texts(self, prompt_ids: Sequence[int], completion: Sequence[int]) -> list[str]:
        ids = [prompt_ids, completion] if self.reads_prompt else [completion]
        return [str(self.writer.decode(list(part), skip_special_tokens=True)) for part in ids]


def load(
    path_or_name: str | Path,
    label: str,
    writer: PreTrainedTokenizerBase,
    *,
    reads_prompt: bool = False,
    form: ScoreForm = "logit",
    device: torch.device | str = "cpu",
) -> ClassifierReward:
    """Load a sequence classifier from a local path or the Hub, with one label as the reward.

    Raises:
        ValueError: if it has no such label; the message lists its labels. Also if it is no
            classifier, or its score cannot be a probability.
        OSError: if there is no such model, or it has no safetensors.
    """
    name = str(path_or_name)
    label_index = check(name, label, form)
    classifier = sequence_classifiers.load(name, device)
    return ClassifierReward(classifier, label_index, writer, reads_prompt, form)


def check(name: str, label: str, form: ScoreForm = "logit") -> int:
    """Return the index of a classifier's label, from its configuration alone.

    Raises:
        ValueError: as in `load`.
        OSError: if there is no such model.
    """
    config = sequence_classifiers.config_of(name)
    if form == "probability" and config.problem_type == "regression":
        raise ValueError(
            f"classifier {name!r} is a regression and has no probability; use its logit"
        )
    return label_of(config, label, name)


def label_of(config: PretrainedConfig, label: str, name: str) -> int:
    """Return the index of a label given by name or number; empty means the only label.

    Raises:
        ValueError: if there is no such label, or it is empty and there are several.
    """
    labels = {index: str(text) for index, text in (config.id2label or {}).items()}
    if not label and len(labels) == 1:
        return int(next(iter(labels)))
    for index, text in labels.items():
        if label in (text, str(index)) or label.lower() == text.lower():
            return int(index)
    problem = f"no label {label!r}" if label else "several labels, of which one must be named"
    raise ValueError(f"classifier {name!r} has {problem}; it has {', '.join(labels.values())}")


def probabilities(logits: Tensor, config: PretrainedConfig) -> Tensor:
    """Return the probability of each label, [N, L] -> [N, L].

    The labels of a multi-label classifier, or of one with a single label, are independent.
    """
    is_multi_label = config.problem_type == "multi_label_classification"
    if is_multi_label or logits.shape[1] == 1:
        return torch.sigmoid(logits)
    return torch.softmax(logits, dim=1)
