"""Decoding engines: next-token logits, one token at a time.

`FusedEngine` runs Llama-shaped models from a merged copy of their weights, with few large matrix
products and a cache allocated once; `GeneralEngine` runs any causal model through its own code and
cache, recurrent states included; `RecomputingEngine` is for models whose cache cannot be used.
All compute each prompt once for all its completions and can drop finished rows. `sampling` draws
tokens from the logits and decides when a row is finished; `cache_probe` tests which engine is
right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM

from worker.rlhf.core import batches
from worker.rlhf.core.batches import PaddingSide
from worker.rlhf.core.products import PackedLinear
from worker.rlhf.model import models, sharding
from worker.rlhf.model.merged_weights import base_layer, merged_weight
from worker.rlhf.sampling import caches

FUSED_FAMILIES = (LlamaForCausalLM, Qwen2ForCausalLM)
FUSED_ROPE = frozenset({"default", "linear", "llama3"})
FUSED_PARAMETERS = 10**9
"""Above this size the merged copy costs too much memory."""


class DecodingEngine(Protocol):
    """A model with a key-value cache of rows."""

    moves_rows_cheaply: bool
    prompt_side: PaddingSide
    """Where prompts are padded."""

    def start(self, input_ids: Tensor, is_real: Tensor, n: int, new_tokens: int) -> Tensor:
        """Compute padded prompts [B, P], repeat each n times, and return logits [B*n, V]."""
        ...

    def step(self, token_ids: Tensor) -> Tensor:
        """Append a token to each row, [B], and return the logits of the next one, [B, V]."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        ...


def can_fuse(model: PreTrainedModel) -> bool:
    """Return whether `FusedEngine` computes exactly what the model does."""
    config = model.config
    if type(model) not in FUSED_FAMILIES or models.is_quantized(model):
        return False
    if sharding.of(model) is not None:
        return False
    if model.num_parameters() > FUSED_PARAMETERS:
        return False
    if getattr(config, "use_sliding_window", False):
        return False
    if config.rope_parameters.get("rope_type", "default") not in FUSED_ROPE:
        return False
    linear = (m for m in _decoder(model).modules() if hasattr(m, "in_features"))
    return all(isinstance(base_layer(m), nn.Linear) for m in linear)


@dataclass(frozen=True, slots=True)
class _Layer:
    before_attention: Tensor
    query_key_value: PackedLinear
    output: PackedLinear
    before_mlp: Tensor
    gate_up: PackedLinear
    down: PackedLinear


class FusedEngine:
    """A Llama-shaped model with merged weights and a cache allocated once."""

    moves_rows_cheaply = True
    prompt_side: PaddingSide = "left"

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        config, decoder = model.config, _decoder(model)
        self._model = decoder
        self._dtype = dtype
        # On a CPU only matrix products are in bf16, as under autocast: its attention kernel is slow
        # in bf16.
        self._state = torch.float32 if model.device.type == "cpu" else dtype
        self._eps: float = config.rms_norm_eps
        self._heads: int = config.num_attention_heads
        self._kv_heads: int = config.num_key_value_heads
        self._head_width: int = decoder.layers[0].self_attn.head_dim
        self._activation = decoder.layers[0].mlp.act_fn
        self._embedding = merged_weight(decoder.embed_tokens).to(self._state)
        self._layers = [self._read(layer) for layer in decoder.layers]
        self._norm = decoder.norm.weight.detach().to(self._state)
        self._unembedding = _merged(
            model.get_output_embeddings(),  # type: ignore[no-untyped-call]
            dtype=dtype,
        )

    def start(self, input_ids: Tensor, is_real: Tensor, n: int, new_tokens: int) -> Tensor:
        """Compute the prompts and store their keys and values in the cache."""
        width = input_ids.shape[1]
        shape = caches.CacheShape(
            layers=len(self._layers),
            heads=self._kv_heads,
            width=self._head_width,
            new_tokens=new_tokens,
            dtype=self._state,
        )
        self._cache = caches.make(is_real, n, shape)
        self._tables = self._rotations(width + new_tokens, input_ids.device)
        self._next = is_real.sum(-1).repeat_interleave(n, 0)  # [B]
        rotation = self._rotation(batches.position_ids(is_real)[:, None])
        allowed = _prompt_mask(is_real)
        x = F.embedding(input_ids, self._embedding)
        for index, layer in enumerate(self._layers):
            query, key, value = self._project(layer, x, rotation)
            self._cache.fill(index, key, value)
            attended = F.scaled_dot_product_attention(
                query, key, value, attn_mask=allowed, enable_gqa=self._heads != self._kv_heads
            )
            if index == len(self._layers) - 1:  # only the last position is still needed
                x, attended = x[:, -1:], attended[:, :, -1:]
            x = self._rest(layer, x, attended)
        return self._logits(x[:, -1]).repeat_interleave(n, 0)

    def step(self, token_ids: Tensor) -> Tensor:
        """Append a token to each row."""
        rotation = self._rotation(self._next[:, None, None])
        x = F.embedding(token_ids, self._embedding)[:, None]  # [B, 1, d]
        for index, layer in enumerate(self._layers):
            attended = self._cache.attend(index, *self._project(layer, x, rotation))
            x = self._rest(layer, x, attended)
        self._cache.advance()
        self._next = self._next + 1
        return self._logits(x[:, -1])

    def keep(self, rows: Sequence[int]) -> None:
        """Copy only the rows whose position changes."""
        self._cache.keep(rows)
        self._next = self._next[torch.tensor(rows, device=self._next.device)]

    def _read(self, layer: Any) -> _Layer:
        attention, mlp, dtype = layer.self_attn, layer.mlp, self._dtype
        return _Layer(
            layer.input_layernorm.weight.detach().to(self._state),
            _merged(attention.q_proj, attention.k_proj, attention.v_proj, dtype=dtype),
            _merged(attention.o_proj, dtype=dtype),
            layer.post_attention_layernorm.weight.detach().to(self._state),
            _merged(mlp.gate_proj, mlp.up_proj, dtype=dtype),
            _merged(mlp.down_proj, dtype=dtype),
        )

    def _rotations(self, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        positions = torch.arange(width, device=device)[None]
        cos, sin = self._model.rotary_emb(torch.empty(0, device=device), positions)
        half = sin.shape[-1] // 2
        sin[..., :half].neg_()  # the sign of the rotated half, applied here once
        return cos[0].to(self._state), sin[0].to(self._state)

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self._tables
        return cos[positions], sin[positions]  # [B, 1, T, D]

    def _project(
        self, layer: _Layer, x: Tensor, rotation: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, width, _ = x.shape
        joined = layer.query_key_value(self._normed(x, layer.before_attention))
        joined = joined.view(rows, width, -1, self._head_width).transpose(1, 2)
        rotated_heads = self._heads + self._kv_heads
        rotated = _rotate(joined[:, :rotated_heads], *rotation)
        return rotated[:, : self._heads], rotated[:, self._heads :], joined[:, rotated_heads:]

    def _rest(self, layer: _Layer, x: Tensor, attended: Tensor) -> Tensor:
        x = x + layer.output(attended.transpose(1, 2).flatten(2))
        gate, up = layer.gate_up(self._normed(x, layer.before_mlp)).chunk(2, -1)
        return x + layer.down(self._activation(gate) * up)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self._eps)

    def _logits(self, x: Tensor) -> Tensor:
        return self._unembedding(self._normed(x, self._norm)).float()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + x.roll(half, -1) * sin


def _prompt_mask(is_real: Tensor) -> Tensor:
    width = is_real.shape[1]
    is_earlier = torch.ones(width, width, dtype=torch.bool, device=is_real.device).tril()
    # Padding attends to itself: a softmax over nothing is NaN, and NaN times 0 is NaN.
    is_self = torch.eye(width, dtype=torch.bool, device=is_real.device)
    return ((is_earlier & is_real[:, None]) | is_self)[:, None]


def _decoder(model: PreTrainedModel) -> Any:
    # Any, because the layers of the families share attribute names but no type.
    return model.get_decoder()  # type: ignore[no-untyped-call]


def _merged(*modules: Any, dtype: torch.dtype) -> PackedLinear:
    """Return linear maps of the same input as one, with their adapters merged."""
    biases = [getattr(base_layer(module), "bias", None) for module in modules]
    known = [bias.detach().to(dtype) for bias in biases if bias is not None]
    weights = [merged_weight(module).to(dtype) for module in modules]
    weight = weights[0] if len(weights) == 1 else torch.cat(weights)
    is_own = weight.data_ptr() != base_layer(modules[0]).weight.data_ptr()
    return PackedLinear(weight, torch.cat(known) if known else None, is_own=is_own)
