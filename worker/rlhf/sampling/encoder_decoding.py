"""The decoding engine for encoder–decoder models, with the model's own forward pass.

A prompt goes through the encoder once, and its keys and values for the decoder's cross-attention
are computed once, for all n completions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import EncoderDecoderCache, PreTrainedModel

from worker.rlhf.core.batches import PaddingSide
from worker.rlhf.model import encoder_decoder, models


class EncoderDecoderEngine:
    """Any encoder–decoder model, with a cache for the response and one for the prompt."""

    moves_rows_cheaply = False
    prompt_side: PaddingSide = "right"  # absolute positions are those of the columns

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        self._model = model
        self._bf16 = dtype == torch.bfloat16
        self._states = torch.empty(0)
        self._prefix = torch.tensor(encoder_decoder.decoder_prefix(model), device=model.device)

    def start(self, input_ids: Tensor, is_real: Tensor, n: int, new_tokens: int) -> Tensor:
        """Encode the prompts, begin a response to each, and repeat the caches."""
        self._cache: EncoderDecoderCache | None = None  # the decoder makes the kinds it needs
        self._is_real = is_real
        with models.autocast(self._bf16, input_ids.device):
            states = encoder_decoder.encode(self._model, input_ids, is_real)
        logits = self._forward(self._prefix.expand(len(input_ids), -1), states)
        assert self._cache is not None
        self._cache.batch_repeat_interleave(n)
        self._is_real = is_real.repeat_interleave(n, 0)
        # From now on the caches hold what the decoder reads of the prompts; only the shape counts.
        self._states = states[:1, :1].expand(len(self._is_real), *states.shape[1:])
        return logits.repeat_interleave(n, 0)

    def step(self, token_ids: Tensor) -> Tensor:
        """Append a token to each row."""
        return self._forward(token_ids[:, None], self._states)

    def keep(self, rows: Sequence[int]) -> None:
        """Copy the caches of the kept rows."""
        index = torch.tensor(rows, device=self._is_real.device)
        assert self._cache is not None
        self._cache.batch_select_indices(index)
        self._is_real, self._states = self._is_real[index], self._states[: len(rows)]

    def _forward(self, input_ids: Tensor, states: Tensor) -> Tensor:
        with models.autocast(self._bf16, input_ids.device):
            output = encoder_decoder.decoder(self._model)(
                input_ids=input_ids,
                encoder_hidden_states=states,
                encoder_attention_mask=self._is_real,
                past_key_values=self._cache,
                use_cache=True,
            )
            self._cache = output.past_key_values
            return models.logits(self._model, output.last_hidden_state[:, -1]).float()
