"""A tiny random model of the same architecture, on which questions are answered in seconds.

What a model's code does with masks, positions, caches and logits depends on its class and on the
kinds of its layers, not on its size or weights. A miniature has the class, the kinds of layers and
all switches of the original, a few narrow layers, and large random weights in fp32, so that
differences show.
"""

import copy
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from worker.rlhf.core import layout_probe
from worker.rlhf.model import encoder_decoder

FAILURES: Final = (*layout_probe.FAILURES, ImportError, AssertionError)
"""What the library raises for architectures of which no miniature can be made or run."""
HEADS: Final = 4
HEAD: Final = 16
WIDTH: Final = HEADS * HEAD
VOCABULARY: Final = 320
POSITIONS: Final = 256
WINDOW: Final = 6
EXPERTS: Final = 4
SPREAD: Final = 0.15
"""Standard deviation of the weights: far from uniform outputs, but no saturated softmax."""

SIZES: Final[Mapping[str, int]] = {
    "hidden_size": WIDTH,
    "n_embd": WIDTH,
    "d_model": WIDTH,
    "embedding_dim": WIDTH,
    "cross_attention_hidden_size": WIDTH,
    "attention_hidden_size": WIDTH,
    "lru_width": WIDTH,
    "dim_model_base": WIDTH // 2,
    "intermediate_size": 96,
    "intermediate_size_mlp": 96,
    "shared_intermediate_size": 48,
    "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 48,
    "moe_shared_expert_intermediate_size": 48,
    "ffn_hidden_size": 96,
    "ffn_dim": 96,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "d_ff": 96,
    "n_inner": 96,
    "dff": 96,
    "block_multiple_of": 16,
    "num_attention_heads": HEADS,
    "n_head": HEADS,
    "n_heads": HEADS,
    "num_heads": HEADS,
    "attention_heads": HEADS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_decoder_layers": 2,
    "head_dim": HEAD,
    "global_head_dim": HEAD,
    "linear_head_dim": HEAD,
    "kv_channels": HEAD,
    "d_kv": HEAD,
    "rotary_dim": 8,
    "query_pre_attn_scalar": HEAD,
    "linear_key_head_dim": HEAD,
    "linear_value_head_dim": HEAD,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": HEADS,
    "linear_num_heads": HEADS,
    "kv_lora_rank": 24,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": HEAD,
    "qk_head_dim": HEAD + 8,
    "v_head_dim": HEAD,
    "mamba_d_state": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": HEAD,
    "mamba_num_heads": 8,
    "mamba_head_dim": HEAD,
    "mamba_n_groups": 1,
    "mamba_d_ssm": 2 * WIDTH,
    "mamba_dt_rank": 4,
    "mamba_chunk_size": 8,
    "state_size": 8,
    "ssm_state_size": 8,
    "time_step_rank": 4,
    "n_groups": 1,
    "chunk_size": 8,
    "n_mamba_heads": 2,
    "laurel_rank": 8,
    "hidden_size_per_layer_input": 8,
    "adapter_rank": 8,
    "word_embed_proj_dim": WIDTH,
    "num_local_experts": EXPERTS,
    "num_experts": EXPERTS,
    "n_routed_experts": EXPERTS,
    "moe_num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "num_expert_group": 1,
}
"""Sizes of the miniature, for those fields that a configuration has and that are larger in it."""

LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks", "depth")
KINDS: Final = (
    "layer_types",
    "layers_block_type",
    "mlp_layer_types",
    "attention_layers",
    "no_rope_layers",
)
"""Lists with the kind of each layer."""
INDICES: Final = ("moe_layers", "full_attn_idxs", "mlp_only_layers", "cross_attention_layers")
"""Lists of the layers of one kind."""
GROUPS: Final = ("num_key_value_heads", "num_kv_heads", "kv_n_heads", "num_query_groups")
VOCABULARIES: Final = ("vocab_size", "vocab_size_per_layer_input")
CONTEXTS: Final = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "context_length",
)
HEAD_COUNTS: Final = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
SPECIAL_IDS: Final[Mapping[str, int]] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

SPECIAL: Final[Mapping[str, Mapping[str, Any]]] = {
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2},
    "gemma3n_text": {"num_kv_shared_layers": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "mamba2": {"num_heads": 8},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "falcon_h1": {"mamba_d_head": HEAD},
    "zamba2": {"mamba_headdim": HEAD, "attention_head_dim": 2 * HEAD, "attention_hidden_size": 128},
    "rwkv": {"rescale_every": 0},
    "deepseek_v3": {"first_k_dense_replace": 1},
    "deepseek_v2": {"first_k_dense_replace": 1},
    "glm4_moe": {"first_k_dense_replace": 1},
    "led": {"attention_window": [8, 8]},
    "lfm2_moe": {"num_dense_layers": 1},
}
"""What the general rules get wrong, by model type."""


def config_of(config: PretrainedConfig, *, keep_windows: bool = False) -> PretrainedConfig:
    """Return the configuration of a miniature, with windows of a few tokens unless kept."""
    small = copy.deepcopy(config)
    _shrink(small)
    text = small.get_text_config(decoder=True)
    for name in () if keep_windows else layout_probe.windows_of(text):
        setattr(text, name, WINDOW)
    return small


def build(
    config: PretrainedConfig,
    make: type[PreTrainedModel] | None = None,
    *,
    seed: int = 0,
    keep_windows: bool = False,
) -> PreTrainedModel:
    """Return a miniature in fp32 on the CPU, of the class that the library would choose.

    Raises:
        Exception: one of `FAILURES`, for an architecture that the general rules cannot shrink.
    """
    small = config_of(config, keep_windows=keep_windows)
    chosen: Any = make._from_config if make else encoder_decoder.auto_class(small).from_config
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model: PreTrainedModel = chosen(small, dtype=torch.float32)
        _randomize(model)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _shrink(config: PretrainedConfig) -> None:
    fields = config.to_dict()
    for name in fields:
        part = getattr(config, name, None)
        if isinstance(part, PretrainedConfig):
            _shrink(part)
    heads = next((fields[name] for name in HEAD_COUNTS if fields.get(name)), None)
    changes: dict[str, Any] = {
        name: min(value, size)
        for name, size in SIZES.items()
        if isinstance(value := fields.get(name), int) and not isinstance(value, bool)
    }
    for name in GROUPS:
        groups = fields.get(name)
        if isinstance(groups, int) and groups > 1:
            changes[name] = min(groups, HEADS if groups == heads else 2)
    for name in VOCABULARIES:
        if isinstance(fields.get(name), int):
            changes[name] = min(fields[name], VOCABULARY)
    for name in CONTEXTS:
        if isinstance(fields.get(name), int):
            changes[name] = min(fields[name], POSITIONS)
    if isinstance(fields.get("expand"), int) and "intermediate_size" in fields:
        changes["intermediate_size"] = fields["expand"] * WIDTH
    if fields.get("word_embed_proj_dim") not in (None, fields.get("hidden_size")):
        changes["word_embed_proj_dim"] = WIDTH // 2
    fields |= changes
    for name, size in SIZES.items():  # some have a size per layer
        if isinstance(sizes := fields.get(name), list):
            fields[name] = [min(value, size) for value in sizes]
    changes |= {**_fewer_layers(fields), **SPECIAL.get(config.model_type, {})}
    changes |= _token_ids(fields, changes.get("vocab_size", VOCABULARY))
    for name, value in changes.items():
        with suppress(AttributeError):  # a property, computed from other fields
            setattr(config, name, value)
    for name in ("rope_parameters", "rope_scaling"):
        if isinstance(fields.get(name), dict):
            with suppress(AttributeError):
                setattr(config, name, _narrow_rope(fields[name], changes.get("head_dim", HEAD)))


def _fewer_layers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Keep one layer of each kind, at least two, in the order of their first occurrence."""
    name = next((name for name in LAYERS if isinstance(fields.get(name), int)), None)
    if name is None:
        return {}
    count = int(fields[name])
    lists = {
        key: value
        for key, value in fields.items()
        if isinstance(value, list | tuple) and len(value) == count
    }
    kinds = [lists[key] for key in KINDS if key in lists]
    seen: dict[tuple[Any, ...], int] = {}
    for layer in range(count):
        marks = tuple(layer in fields[key] for key in INDICES if fields.get(key) is not None)
        seen.setdefault((*(kind[layer] for kind in kinds), *marks), layer)
    kept = sorted(seen.values())
    if len(kept) == 1 or fields.get("num_kv_shared_layers"):
        kept = kept * 2
    if count <= len(kept):
        return {}
    changes: dict[str, Any] = {key: [value[n] for n in kept] for key, value in lists.items()}
    for key in INDICES:
        if fields.get(key) is not None:
            changes[key] = [new for new, old in enumerate(kept) if old in fields[key]]
    return {name: len(kept), **changes}


def _token_ids(fields: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
    """Return the special ids that the small vocabulary does not have, each as one that it has."""
    changes: dict[str, Any] = {}
    for name, value in fields.items():
        if not name.endswith(("token_id", "token_index")) or value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if any(isinstance(i, int) and i >= vocabulary for i in ids):
            changes[name] = SPECIAL_IDS.get(name, vocabulary - 1)
    return changes


def _narrow_rope(rope: Mapping[str, Any], head: int) -> dict[str, Any]:
    """Shorten the lists with a value per pair of dimensions."""
    narrow: dict[str, Any] = {}
    pairs = max(1, int(head * float(rope.get("partial_rotary_factor") or 1.0)) // 2)
    for key, value in rope.items():
        if isinstance(value, Mapping):
            narrow[key] = _narrow_rope(value, head)
        elif key == "mrope_section":
            narrow[key] = [pairs - 2 * (pairs // 3), pairs // 3, pairs // 3]
        elif key in ("short_factor", "long_factor"):
            narrow[key] = list(value)[:pairs]
        else:
            narrow[key] = value
    return narrow


@torch.no_grad()
def _randomize(model: PreTrainedModel) -> None:
    """Draw every matrix anew: some libraries' defaults leave layers at 0, which hides them."""
    for parameter in model.parameters():
        if parameter.ndim >= 2 and parameter.is_floating_point():
            parameter.normal_(0.0, SPREAD)
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx] = 0.0
