"""Encoder–decoder models (T5, BART, …): an encoder reads the prompt, a decoder writes the response.

A decoder row is a prefix of fixed tokens and then the response, so the hidden state before a
response token is that of the column before it, as in a decoder-only model. The encoder computes
each distinct prompt of a batch once, and all rows with this prompt read its output.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from worker.rlhf.core.batches import EncoderInput

QUERY_AND_VALUE = (("q", "v"), ("q_proj", "v_proj"))
"""What T5 and BART call the projections that adapters change by default."""


SCALED_IF_TIED = frozenset({"umt5", "switch_transformers"})
"""Kin of T5 without a setting that says whether logits are scaled."""


def is_one(model: PreTrainedModel) -> bool:
    """Return whether the model has an encoder for the prompt."""
    return bool(getattr(model.config, "is_encoder_decoder", False))


def auto_class(config: PreTrainedConfig) -> Any:
    """Return the class of the library that loads or makes models with this configuration."""
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def task_type(model: PreTrainedModel) -> str:
    """Return what PEFT calls the task of the model."""
    return "SEQ_2_SEQ_LM" if is_one(model) else "CAUSAL_LM"


def decoder_prefix(model: PreTrainedModel) -> tuple[int, ...]:
    """Return the tokens before every response in the decoder; none for a decoder-only model.

    They are the start token and, for models that were trained with one, the forced first token.

    Raises:
        ValueError: if an encoder–decoder model has no start token.
    """
    if not is_one(model):
        return ()
    start = _setting(model, "decoder_start_token_id")
    start = _setting(model, "bos_token_id") if start is None else start
    if start is None:
        raise ValueError(
            f"{type(model).__name__} has no decoder_start_token_id, so responses cannot begin"
        )
    forced = _setting(model, "forced_bos_token_id")
    return (start,) if forced is None else (start, forced)


def hidden(
    model: PreTrainedModel,
    input_ids: Tensor,
    is_real: Tensor | None,
    encoder: EncoderInput,
) -> Tensor:
    """Return the decoder's last hidden states, [B, T] -> [B, T, d].

    Args:
        model: an encoder–decoder model.
        input_ids: decoder rows, padded on the right, [B, T].
        is_real: their real tokens, [B, T]; None: all.
        encoder: the prompts.
    """
    states = encode(model, encoder.input_ids, encoder.is_real)
    output = decoder(model)(
        input_ids=input_ids,
        attention_mask=is_real,
        encoder_hidden_states=states[encoder.prompt_of],
        encoder_attention_mask=encoder.is_real[encoder.prompt_of],
        use_cache=False,
    )
    last: Tensor = output.last_hidden_state
    return last


def encode(model: PreTrainedModel, input_ids: Tensor, is_real: Tensor) -> Tensor:
    """Return the encoder's output for right-padded prompts, [S, P] -> [S, P, d]."""
    encoder: Any = model.get_encoder()
    states: Tensor = encoder(input_ids=input_ids, attention_mask=is_real).last_hidden_state
    return states


def decoder(model: PreTrainedModel) -> Any:
    """Return the decoder without its output layer."""
    return model.get_decoder()  # type: ignore[no-untyped-call]


def keep_biases_constant(model: PreTrainedModel) -> None:
    """Undo what T5 does for reentrant gradient checkpoints, after they are turned on.

    It makes position biases require gradients in training mode only, so a layer that is recomputed
    in evaluation mode would save other tensors than it did in the forward pass.
    """
    for module in model.modules():
        if hasattr(module, "has_relative_attention_bias"):
            module.gradient_checkpointing = False  # type: ignore[assignment]


def output_config(model: PreTrainedModel) -> PreTrainedConfig:
    """Return the config that describes the output layer: the decoder's if it has its own."""
    config: PreTrainedConfig = model.config.get_text_config()
    own = getattr(model.config, "decoder", None)
    return own if is_one(model) and isinstance(own, PreTrainedConfig) else config


def output_factor(model: PreTrainedModel) -> float | None:
    """Return what hidden states are multiplied by before the output layer, or None.

    The first T5 scales them, since its output layer is the embedding; versions from 1.1 on do not.
    """
    config = model.config
    is_scaled = getattr(config, "scale_decoder_outputs", False)
    if config.model_type in SCALED_IF_TIED:
        is_scaled = config.tie_word_embeddings
    return float(config.d_model) ** -0.5 if is_scaled else None


def lora_targets(model: PreTrainedModel) -> str | tuple[str, ...]:
    """Return which layers get an adapter by default: q and v, or all in a decoder-only model.

    Of equal budgets, q and v did best in the LoRA paper (Hu et al. 2021, arXiv 2106.09685, section
    7.1), and they are PEFT's default for T5.
    """
    if is_one(model):
        names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
        for pair in QUERY_AND_VALUE:
            if names.issuperset(pair):
                return pair
    return "all-linear"


@torch.no_grad()
def untie_as(source: PreTrainedModel, target: PreTrainedModel) -> None:
    """Give the target an output layer of its own if the source has one.

    Of some families the config always states tied embeddings, whatever the weights are.
    """
    head, other = (m.get_output_embeddings() for m in (source, target))  # type: ignore[no-untyped-call]
    if _is_tied(source, head) or not _is_tied(target, other):
        return
    other.weight = nn.Parameter(other.weight.clone())


def _is_tied(model: PreTrainedModel, head: Any) -> bool:
    inner = getattr(head, "base_layer", head)
    embedding: Any = model.get_input_embeddings()
    return inner is not None and inner.weight is embedding.weight


def _setting(model: PreTrainedModel, name: str) -> int | None:
    for config in (model.generation_config, model.config):
        value = getattr(config, name, None)
        if value is not None:
            return int(value)
    return None
