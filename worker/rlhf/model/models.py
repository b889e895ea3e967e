"""Causal language models from a local path or the Hub, prepared for the training loops.

Preparing removes dropout, finds the tokens that end a response, and sets a padding id that is none
of them. Only safetensors files are loaded, and no remote code is run.
"""

import platform
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from worker.rlhf.core import attention
from worker.rlhf.model import ends
from worker.rlhf.model.ends import EndToken

CPU_FLAGS = Path("/proc/cpuinfo")
SPARE_WORDS = ("pad", "reserved", "unused")
"""In the names of special tokens that no text contains."""
NATIVE_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal model with its tokenizer, its path or name, and its end tokens and padding id.

    Any of `ends` ends a response; the first is written after a finished one. No end: responses run
    to the length limit.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    path: str
    ends: tuple[EndToken, ...]
    pad_id: int  # never an end

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The ids that end a response."""
        return tuple(end.id for end in self.ends)

    @property
    def end_id(self) -> int:
        """The id that is written after a finished response."""
        return self.ends[0].id

    @property
    def record(self) -> dict[str, Any]:
        """What a checkpoint records of it: the tokens that end its responses."""
        return {"ends": [{"id": end.id, "token": end.token} for end in self.ends]}


def load(
    path_or_name: str | Path,
    *,
    dtype: torch.dtype | Literal["auto"] = torch.float32,
    device: torch.device | str = "cpu",
    revision: str | None = None,
    four_bit: bool = False,
) -> LoadedModel:
    """Load a causal model and its tokenizer from a local path or the Hub.

    In 4 bits (NF4, QLoRA: Dettmers et al. 2023, arXiv 2305.14314) the linear layers of the trunk
    take a quarter of the memory of bf16; adapters on them are trained in full precision. `dtype`
    "auto" is the precision in which the model is stored.

    Raises:
        ValueError: if 4 bits are requested and bitsandbytes is not installed.
    """
    name = str(path_or_name)
    settings = _four_bit(device) if four_bit else None
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        name,
        revision=revision,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        quantization_config=settings,
        device_map={"": str(device)} if four_bit else None,
    )
    if four_bit:
        _keep_gradients(model)
    else:  # a quantized model cannot be moved
        model = model.to(torch.device(device))  # type: ignore[arg-type]
    return adopt(model, tokenizer, name)


def is_quantized(model: PreTrainedModel) -> bool:
    """Return whether weights are stored in fewer bits than they are computed in."""
    return getattr(model, "quantization_method", None) is not None


def adopt(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str) -> LoadedModel:
    """Prepare a model for the loops: no dropout, and a padding id that ends no response.

    Raises:
        ValueError: if no token ends a response.
    """
    end_tokens = ends.of(model, tokenizer)
    if not end_tokens:
        raise ValueError(
            f"{path!r} has no EOS token, neither in its tokenizer nor in its generation config, so "
            "completions cannot end"
        )
    ends.make_known(model, tokenizer, end_tokens)
    pad_id = _pad_id(model, tokenizer, {end.id for end in end_tokens})
    model.config.pad_token_id = pad_id
    pad = tokenizer.convert_ids_to_tokens(pad_id)
    if pad is not None:  # plain transformers, which reads the saved model, must pad with the same
        tokenizer.pad_token = pad
    model.name_or_path = path  # adapters record it as their base
    disable_dropout(model)
    attention.prefer_fp32(model)
    model.eval()  # type: ignore[no-untyped-call]
    return LoadedModel(model, tokenizer, path, end_tokens, pad_id)


def disable_dropout(model: PreTrainedModel) -> None:
    """Set every dropout to 0, so that training and evaluation mode compute the same."""
    for module in model.modules():
        for name in (
            "p",
            "dropout",
            "attention_dropout",
            "hidden_dropout",
            "activation_dropout",
            "layerdrop",
        ):
            if isinstance(vars(module).get(name), float):
                setattr(module, name, 0.0)
    for name, value in model.config.to_dict().items():
        if isinstance(value, float) and (
            "dropout" in name or name.endswith(("pdrop", "layerdrop"))
        ):
            setattr(model.config, name, 0.0)


def trunk(model: PreTrainedModel) -> nn.Module:
    """Return the part of the model that maps token ids to last hidden states."""
    return model.base_model


def logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return next-token logits, [N, d] -> [N, V], with the architecture's soft cap or scale."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    raw: Tensor = head(hidden)
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None)
    if scale is not None:
        raw = raw * scale
    return raw if cap is None else torch.tanh(raw / cap) * cap


@torch.no_grad()
def refuse_unknown_logits(model: PreTrainedModel) -> None:
    """Compare `logits` with the model's own on a few tokens.

    Raises:
        ValueError: if they differ, as for an architecture that transforms logits in another way.
    """
    ids = torch.arange(4, device=model.device)[None] % model.config.get_text_config().vocab_size
    expected = model(input_ids=ids, use_cache=False).logits
    computed = logits(model, trunk(model)(input_ids=ids, use_cache=False).last_hidden_state)
    if not torch.allclose(expected, computed, rtol=1e-3, atol=1e-3):
        difference = (expected - computed).abs().max().item()
        raise ValueError(
            f"{type(model).__name__} transforms its logits in an unsupported way: they differ by "
            f"{difference:.3g}"
        )


def context_tokens(model: PreTrainedModel) -> int | None:
    """Return the longest sequence the model has positions for, or None if it specifies none."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if limit is None else int(limit)


def has_native_bf16(device: torch.device | str = "cpu") -> bool:
    """Return whether the device multiplies bf16 matrices faster than fp32 ones."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.device(device).type == "cpu" and _cpu_has_bf16()


def autocast(
    choice: bool | None, device: torch.device | str = "cpu"
) -> AbstractContextManager[None]:
    """Return the autocast context of a loop; None means bf16 if it is native to the device."""
    enabled = has_native_bf16(device) if choice is None else choice
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=enabled)


def autocast_dtype(choice: bool | None, model: PreTrainedModel) -> torch.dtype:
    """Return the dtype a model computes in under `autocast` with the same choice."""
    enabled = has_native_bf16(model.device) if choice is None else choice
    return torch.bfloat16 if enabled else model.dtype


def _four_bit(device: torch.device | str) -> BitsAndBytesConfig:
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            "a model in 4 bits needs bitsandbytes, which is not installed: pip install bitsandbytes"
        )
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if has_native_bf16(device) else torch.float32,
    )


def _keep_gradients(model: PreTrainedModel) -> None:
    # On a CPU bitsandbytes repacks a layer for inference at its first forward in evaluation mode,
    # after which no gradient passes through it. The loops train in that mode.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            vars(module)["support_avx512bf16_for_cpu"] = False


@cache
def _cpu_has_bf16() -> bool:
    if platform.machine() != "x86_64" or not CPU_FLAGS.exists():
        return False
    line = next(
        (text for text in CPU_FLAGS.read_text().splitlines() if text.startswith("flags")), ""
    )
    return bool(NATIVE_BF16_FLAGS & set(line.split()))


def _pad_id(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end_ids: Collection[int]
) -> int:
    # The loops mask padding by length. Plain transformers, which may load the reward model as a
    # classifier, finds the last token by comparing ids, so prefer a token that never ends a text.
    spare = (
        index
        for index, token in tokenizer.added_tokens_decoder.items()
        if token.special and any(word in token.content for word in SPARE_WORDS)
    )
    candidates = (
        *(tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id),
        *spare,
    )
    for candidate in candidates:
        if candidate is not None and candidate not in end_ids:
            return int(candidate)
    vocabulary = model.config.get_text_config().vocab_size
    return next(unused for unused in reversed(range(vocabulary)) if unused not in end_ids)
