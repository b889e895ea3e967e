"""Language models from a local path or the Hub, prepared for the training loops.

They are decoder-only or encoder–decoder models; see `encoder_decoder` for the latter.

Preparing removes dropout, finds the tokens that end a response, and sets a padding id that is none
of them. Only safetensors files are loaded, and no remote code is run.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from worker.rlhf.core import attention, batches, products
from worker.rlhf.core.batches import EncoderInput
from worker.rlhf.core.parallel import Held
from worker.rlhf.model import (
    bare_template,
    chat_options,
    encoder_decoder,
    ends,
    precision,
    sharding,
    soundness,
    supported,
)
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.ends import EndToken

LOGIT_FACTORS = ("logit_scale", "lm_head_multiplier")  # Cohere; Falcon-H1
LOGIT_DIVISOR = "logits_scaling"  # Granite, MiniCPM3
LOGIT_CAPS = ("final_logit_softcapping", "logits_soft_cap")  # Gemma 2; RecurrentGemma
SPARE_WORDS = ("pad", "reserved", "unused")
"""In the names of special tokens that no text contains."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with its tokenizer, its path or name, and its end tokens and padding id.

    Any of `ends` ends a response; the first is written after a finished one. No end: responses run
    to the length limit. `decoder_prefix` is what precedes every response in the decoder of an
    encoder–decoder model. `stored_dtype` is the precision of the files, if they state one.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    path: str
    ends: tuple[EndToken, ...]
    pad_id: int  # never an end
    chat: ChatOptions = chat_options.DEFAULT
    decoder_prefix: tuple[int, ...] = ()
    stored_dtype: torch.dtype | None = None

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt."""
        return bool(self.decoder_prefix)

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
        """What a checkpoint records of it: the ends of responses, and how prompts are rendered."""
        ends_json = [{"id": end.id, "token": end.token} for end in self.ends]
        return {"ends": ends_json, **self.chat.record}


def load(
    path_or_name: str | Path,
    *,
    dtype: torch.dtype | Literal["auto"] | None = None,
    device: torch.device | str = "cpu",
    revision: str | None = None,
    four_bit: bool = False,
    held: Held = "device",
    chat: ChatOptions = chat_options.DEFAULT,
) -> LoadedModel:
    """Load a language model and its tokenizer from a local path or the Hub.

    In 4 bits (NF4, QLoRA: Dettmers et al. 2023, arXiv 2305.14314) the linear layers of the trunk
    take a quarter of the memory of bf16; adapters on them are trained in full precision. `dtype`
    None is the precision of a base that is not trained itself (see `precision.of_frozen`), "auto"
    the one in which the model is stored. `held` says where the weights are put, for
    processes that divide the model; "nothing" reads none. `chat` is how conversations are rendered
    for it.

    Raises:
        ValueError: if the model's type is not supported, its files are not whole or do not belong
            together, or 4 bits are requested and bitsandbytes is not installed.
    """
    name = str(path_or_name)
    config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    supported.refuse(config)
    settings = _four_bit(device) if four_bit else None
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    precise = precision.of_frozen(device) if dtype is None else dtype
    model: Any
    if held == "nothing":
        model = _without_weights(name, revision, precise)
    else:
        model, read = _model_class(name, revision).from_pretrained(
            name,
            revision=revision,
            dtype=precise,
            use_safetensors=True,
            trust_remote_code=False,
            quantization_config=settings,
            device_map={"": str(device)} if four_bit else None,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
        soundness.refuse_incomplete(read["missing_keys"], read["mismatched_keys"])
        soundness.refuse_not_finite(model.named_parameters())
    soundness.refuse_other_tokenizer(tokenizer, model.get_input_embeddings().weight.shape[0])
    if four_bit:
        _keep_gradients(model)
    elif held == "device":  # a quantized model cannot be moved
        model = model.to(torch.device(device))
    stored = config.get_text_config().dtype or config.dtype
    known = stored if isinstance(stored, torch.dtype) else None
    return replace(adopt(model, tokenizer, name), chat=chat, stored_dtype=known)


def is_quantized(model: PreTrainedModel) -> bool:
    """Return whether weights are stored in fewer bits than they are computed in."""
    return getattr(model, "quantization_method", None) is not None


def adopt(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str) -> LoadedModel:
    """Prepare a model for the loops: no dropout, and a padding id that ends no response.

    An encoder without a chat template gets one that renders the bare texts.

    Raises:
        ValueError: if no token ends a response, or a decoder has no start token.
    """
    prefix = encoder_decoder.decoder_prefix(model)
    if prefix and tokenizer.chat_template is None:  # it also says what ends a response
        tokenizer.chat_template = bare_template.make(tokenizer)
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
    prepare(model)
    return LoadedModel(model, tokenizer, path, end_tokens, pad_id, decoder_prefix=prefix)


def prepare(model: PreTrainedModel) -> None:
    """Set what all loops rely on: no dropout, attention in fp32 on CPUs, evaluation mode."""
    disable_dropout(model)
    attention.prefer_fp32(model)
    model.eval()  # type: ignore[no-untyped-call]


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
    """Return the part of a decoder-only model that maps token ids to last hidden states."""
    return model.base_model


def run_trunk(model: PreTrainedModel, **inputs: Any) -> Any:
    """Return the output of the trunk of a model, whole or divided among processes."""
    return sharding.run(model, partial(trunk(model), **inputs))


def hidden(
    model: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    encoder: EncoderInput | None = None,
) -> Tensor:
    """Return the last hidden states, by the model's own code, [B, T] -> [B, T, d].

    With `encoder` the rows are those of a decoder, which counts positions by itself.
    """
    if encoder is not None:
        return encoder_decoder.hidden(model, input_ids, attention_mask, encoder)
    output = run_trunk(
        model,
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        use_cache=False,
    )
    last: Tensor = output.last_hidden_state
    return last


def logits(
    model: PreTrainedModel, hidden: Tensor, head: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return next-token logits, [N, d] -> [N, V], with the architecture's scale or soft cap.

    `head` is that of `output_head`, for who computes many chunks.
    """
    config = encoder_decoder.output_config(model)
    output_factor = encoder_decoder.output_factor(model)
    raw = (head or output_head(model))(hidden if output_factor is None else hidden * output_factor)
    bias = getattr(model, "final_logits_bias", None)
    if bias is not None:
        raw = raw + bias
    for name in LOGIT_FACTORS:
        factor = getattr(config, name, None)
        if factor is not None and factor != 1:
            raw = raw * factor
    divisor = getattr(config, LOGIT_DIVISOR, None)
    if divisor is not None and divisor != 1:
        raw = raw / divisor
    for name in LOGIT_CAPS:
        cap = getattr(config, name, None)
        if cap is not None:
            raw = torch.tanh(raw / cap) * cap
    return raw


def output_head(model: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """Return the map of hidden states to raw logits; under autocast its weight is cast once, here.

    Autocast itself casts the weight of a frozen map again in every product.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    kind = model.device.type
    is_plain = type(head) is nn.Linear and not head.weight.requires_grad
    if not is_plain or not torch.is_autocast_enabled(kind):
        return partial(products.through, head)
    dtype = torch.get_autocast_dtype(kind)
    weight = head.weight.to(dtype)
    bias = None if head.bias is None else head.bias.to(dtype)
    return lambda hidden: F.linear(hidden.to(dtype), weight, bias)


def output_width(model: PreTrainedModel) -> int:
    """Return the width of the last hidden states, which a projection may change (OPT-350m)."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return int(head.weight.shape[1])


@torch.no_grad()
def refuse_unknown_logits(model: PreTrainedModel) -> None:
    """Compare `logits` with the model's own on a few tokens.

    Raises:
        ValueError: if they differ, as for an architecture that transforms logits in another way.
    """
    ids = torch.arange(4, device=model.device)[None] % model.config.get_text_config().vocab_size
    encoder: EncoderInput | None = None
    decoded: dict[str, Tensor] = {}
    is_real = torch.ones_like(ids)
    if encoder_decoder.is_one(model):
        encoder = batches.encoder_input(ids.tolist(), pad_id=0).to(model.device)
        decoded = {"decoder_input_ids": ids, "decoder_attention_mask": is_real}
    try:
        whole = partial(model, input_ids=ids, attention_mask=is_real, **decoded, use_cache=False)
        expected = sharding.run(model, whole).logits
        computed = logits(model, hidden(model, ids, is_real, encoder=encoder))
    except AttributeError as error:
        raise ValueError(
            f"{_kind(model)} has no part of its own that computes hidden states: {error}"
        ) from error
    if not torch.allclose(expected, computed, rtol=1e-3, atol=1e-3):
        difference = (expected - computed).abs().max().item()
        raise ValueError(
            f"{_kind(model)} transforms its logits in an unsupported way: they differ by "
            f"{difference:.3g}"
        )


def _kind(model: PreTrainedModel) -> str:
    return f"models of type {model.config.model_type!r}: {type(model).__name__}"


def context_tokens(model: PreTrainedModel) -> int | None:
    """Return the longest sequence the model has positions for, or None if it specifies none."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if limit is None else int(limit)


def autocast(
    choice: bool | None, device: torch.device | str = "cpu"
) -> AbstractContextManager[None]:
    """Return the autocast context of a loop; None means bf16 if the device is faster in it."""
    enabled = precision.has_fast_bf16(device) if choice is None else choice
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=enabled)


def autocast_dtype(choice: bool | None, model: PreTrainedModel) -> torch.dtype:
    """Return the dtype a model computes in under `autocast` with the same choice."""
    enabled = precision.has_fast_bf16(model.device) if choice is None else choice
    return torch.bfloat16 if enabled else model.dtype


def _model_class(name: str, revision: str | None) -> Any:
    config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    return encoder_decoder.auto_class(config)


def _without_weights(
    name: str, revision: str | None, dtype: torch.dtype | Literal["auto"]
) -> PreTrainedModel:
    """Return a model whose weights another process has; see `sharding`."""
    config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    with torch.device("meta"):
        make: Any = encoder_decoder.auto_class(config).from_config
        model: PreTrainedModel = make(config, dtype=dtype)
    with suppress(OSError):  # not all models have one
        read: Any = GenerationConfig.from_pretrained
        model.generation_config = read(name, revision=revision)
    return model


def _four_bit(device: torch.device | str) -> BitsAndBytesConfig:
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            "a model in 4 bits needs bitsandbytes, which is not installed: pip install bitsandbytes"
        )
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if precision.has_fast_bf16(device) else torch.float32,
    )


def _keep_gradients(model: PreTrainedModel) -> None:
    # On a CPU bitsandbytes repacks a layer for inference at its first forward in evaluation mode,
    # after which no gradient passes through it. The loops train in that mode.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            vars(module)["support_avx512bf16_for_cpu"] = False


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
