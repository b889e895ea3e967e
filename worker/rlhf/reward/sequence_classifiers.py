"""Other people's sequence classifiers: loaded with the head that was trained, and evaluated.

Rewards that use them (`classifier`, `published_reward`) decide what they read and which of their
logits counts. Only safetensors files are loaded, and no remote code is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from worker.rlhf.core import batches
from worker.rlhf.model import models

ARCHITECTURE = "ForSequenceClassification"
MOST_TOKENS = 512
"""Context of a model that does not specify one."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as token ids and token types; `is_truncated` if it did not fit."""

    ids: list[int]
    types: list[int]
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class SequenceClassifier:
    """A classifier with its tokenizer and its name in messages."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str

    @property
    def takes_types(self) -> bool:
        """Whether the model distinguishes the two texts of a pair by token types."""
        return "token_type_ids" in self.tokenizer.model_input_names

    @property
    def most_tokens(self) -> int:
        """The number of tokens that it reads."""
        limits = [models.context_tokens(self.model) or MOST_TOKENS, self.tokenizer.model_max_length]
        return min(int(limit) for limit in limits)

    def encode(self, *texts: str) -> Encoded:
        """Return a text, or a pair of texts, as the tokenizer joins them; truncated if too long."""
        encoding = self.tokenizer(*texts, return_token_type_ids=True, verbose=False)
        is_truncated = len(encoding["input_ids"]) > self.most_tokens
        if is_truncated:
            encoding = self.tokenizer(
                *texts,
                truncation="longest_first",
                max_length=self.most_tokens,
                return_token_type_ids=True,
            )
        ids = list(encoding["input_ids"]) or [self._any_id()]
        return Encoded(ids, list(encoding["token_type_ids"]) or [0], is_truncated)

    @torch.no_grad()
    def logits(self, rows: Sequence[Encoded], token_budget: int) -> Tensor:
        """Return the logits of each row, [N, L] in fp32, in batches of similar lengths.

        Raises:
            ValueError: if there is no row.
        """
        if not rows:
            raise ValueError("there is no completion to score")
        found: dict[int, Tensor] = {}
        for group in batches.by_tokens([len(row.ids) for row in rows], token_budget):
            logits = self._batch([rows[index] for index in group])
            found |= zip(group, logits, strict=True)
        return torch.stack([found[index] for index in range(len(rows))])

    def _batch(self, rows: Sequence[Encoded]) -> Tensor:
        lengths = torch.tensor([len(row.ids) for row in rows])
        width = int(lengths.max())
        ids = torch.full((len(rows), width), self._padding(rows))
        types = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            types[number, : len(row.types)] = torch.tensor(row.types)
        device = self.model.device
        more = {"token_type_ids": types.to(device)} if self.takes_types else {}
        is_real = torch.arange(width) < lengths[:, None]
        output = self.model(
            input_ids=ids.to(device), attention_mask=is_real.long().to(device), **more
        )
        logits: Tensor = output.logits.float().cpu()
        return logits

    def _padding(self, rows: Sequence[Encoded]) -> int:
        """Return the padding id; decoders find the last token by it.

        Without one, plain transformers scores single texts at their last token. An id that ends no
        text has the same effect for a batch.
        """
        stated = getattr(self.model.config, "original_pad_token_id", None)
        if stated is not None:
            return int(stated)
        last = {row.ids[-1] for row in rows}
        padding = next(number for number in range(len(last) + 1) if number not in last)
        self.model.config.pad_token_id = padding
        return padding

    def _any_id(self) -> int:
        return int(self.tokenizer.eos_token_id or self.tokenizer.pad_token_id or 0)


def load(name: str | Path, device: torch.device | str = "cpu") -> SequenceClassifier:
    """Load a sequence classifier from a local path or the Hub.

    Raises:
        ValueError: if it is another kind of model, or its weights have no trained head.
        OSError: if there is no such model, or it has no safetensors.
    """
    name = str(name)
    config_of(name)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        name,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=False,
    )
    refuse_untrained(name, loading["missing_keys"])
    return adopt(model, tokenizer, name, device)


def adopt(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    device: torch.device | str = "cpu",
) -> SequenceClassifier:
    """Prepare a loaded classifier for scoring: no dropout, no gradients, on its device."""
    config = model.config
    stated = getattr(config.get_text_config(), "pad_token_id", None)
    stated = config.pad_token_id if stated is None else stated
    config.original_pad_token_id = tokenizer.pad_token_id if stated is None else stated
    config.pad_token_id = config.original_pad_token_id
    models.disable_dropout(model)
    model.to(torch.device(device)).eval().requires_grad_(False)  # type: ignore[arg-type]
    return SequenceClassifier(model, tokenizer, name)


def config_of(name: str | Path) -> PretrainedConfig:
    """Return the configuration of a sequence classifier, without loading its weights.

    Raises:
        ValueError: if it is another kind of model; loading it would add a random head.
        OSError: if there is no such model.
    """
    config: PretrainedConfig = AutoConfig.from_pretrained(str(name), trust_remote_code=False)
    architectures = list(config.architectures or [])
    if not any(architecture.endswith(ARCHITECTURE) for architecture in architectures):
        listed = ", ".join(architectures) or "unknown"
        raise ValueError(
            f"{str(name)!r} has no classification head (architecture: {listed}); "
            f"a model of a kind …{ARCHITECTURE} is needed"
        )
    return config


def refuse_untrained(name: str, missing: Sequence[str]) -> None:
    """Refuse weights that lack some of the model's, which would be random.

    Raises:
        ValueError: naming them.
    """
    if missing:
        listed = ", ".join(sorted(missing)[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(
            f"the weights of {name!r} lack {listed}{more}; without them its scores would be random"
        )
