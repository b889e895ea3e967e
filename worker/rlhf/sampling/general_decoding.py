"""Decoding engines that run any causal model through its own code.

`GeneralEngine` uses the model's cache, of keys and values or of recurrent states.
`RecomputingEngine` uses none: each token costs a pass over the whole text, and it is right for
every model whose states depend on earlier tokens alone.
"""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from worker.rlhf.core import batches
from worker.rlhf.core.batches import PaddingSide
from worker.rlhf.model import models


class GeneralEngine:
    """Any causal model, with its own forward pass and cache."""

    moves_rows_cheaply = False
    prompt_side: PaddingSide = "left"

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        self._model = model
        self._bf16 = dtype == torch.bfloat16
        parameters = signature(models.trunk(model).forward).parameters
        self._is_recurrent = "cache_params" in parameters  # Mamba and its kin

    def start(self, input_ids: Tensor, is_real: Tensor, n: int, new_tokens: int) -> Tensor:
        """Compute the prompts and repeat their cache."""
        self._cache = DynamicCache(config=self._model.config)
        self._is_real = is_real
        logits = self._forward(input_ids, batches.position_ids(is_real))
        # Not batch_repeat_interleave, which leaves recurrent states as they are.
        order = torch.arange(len(is_real), device=is_real.device).repeat_interleave(n)
        self._cache.reorder_cache(order)  # type: ignore[arg-type]
        self._is_real = is_real.repeat_interleave(n, 0)
        self._next = self._is_real.sum(-1)
        return logits.repeat_interleave(n, 0)

    def step(self, token_ids: Tensor) -> Tensor:
        """Append a token to each row."""
        self._is_real = F.pad(self._is_real, (0, 1), value=True)
        logits = self._forward(token_ids[:, None], self._next[:, None])
        self._next = self._next + 1
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Copy the cache of the kept rows."""
        index = torch.tensor(rows, device=self._is_real.device)
        self._cache.reorder_cache(index)  # type: ignore[arg-type]
        self._is_real, self._next = self._is_real[index], self._next[index]

    def _forward(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        with models.autocast(self._bf16, input_ids.device):
            output = models.run_trunk(
                self._model,
                input_ids=input_ids,
                use_cache=True,
                **self._state(input_ids, position_ids),
            )
            return models.logits(self._model, output.last_hidden_state[:, -1]).float()

    def _state(self, input_ids: Tensor, position_ids: Tensor) -> dict[str, Any]:
        """Return the cache and the mask under the names that the architecture has for them."""
        if self._is_recurrent:  # without positions, and its mask covers the new tokens alone
            is_real = self._is_real[:, -input_ids.shape[1] :]
            return {"cache_params": self._cache, "attention_mask": is_real}
        return {
            "past_key_values": self._cache,
            "attention_mask": self._is_real,
            "position_ids": position_ids,
        }


class RecomputingEngine:
    """Any causal model, without a cache; rows are padded on the right, which no token sees."""

    moves_rows_cheaply = True
    prompt_side: PaddingSide = "left"

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        self._model = model
        self._bf16 = dtype == torch.bfloat16

    def start(self, input_ids: Tensor, is_real: Tensor, n: int, new_tokens: int) -> Tensor:
        """Compute the prompts, with their padding moved to the right."""
        lengths = is_real.sum(-1)
        columns = torch.arange(input_ids.shape[1], device=input_ids.device)
        shifted = columns + (~is_real).sum(-1, keepdim=True)
        self._ids = input_ids.gather(1, shifted % input_ids.shape[1])
        self._lengths = lengths
        logits = self._forward()
        self._ids = F.pad(self._ids, (0, new_tokens)).repeat_interleave(n, 0)
        self._lengths = lengths.repeat_interleave(n, 0)
        return logits.repeat_interleave(n, 0)

    def step(self, token_ids: Tensor) -> Tensor:
        """Append a token to each row and compute all rows again."""
        self._ids.scatter_(1, self._lengths[:, None], token_ids[:, None])
        self._lengths = self._lengths + 1
        return self._forward()

    def keep(self, rows: Sequence[int]) -> None:
        """Keep the tokens of these rows."""
        index = torch.tensor(rows, device=self._ids.device)
        self._ids, self._lengths = self._ids[index], self._lengths[index]

    def _forward(self) -> Tensor:
        width = int(self._lengths.max())
        columns = torch.arange(width, device=self._ids.device)
        is_real = columns < self._lengths[:, None]
        with models.autocast(self._bf16, self._ids.device):
            output = models.run_trunk(
                self._model,
                input_ids=self._ids[:, :width],
                attention_mask=is_real,
                position_ids=batches.position_ids(is_real),
                use_cache=False,
            )
            rows = torch.arange(len(self._lengths), device=self._ids.device)
            last = output.last_hidden_state[rows, self._lengths - 1]
            return models.logits(self._model, last).float()
