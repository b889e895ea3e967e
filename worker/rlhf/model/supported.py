"""Which model types cannot be a base model, as far as the configuration alone tells.

What takes a forward pass to find out is left to the probes: `models.refuse_unknown_logits`,
`cache_probe`, and the layouts' probes, which choose another way instead of refusing.
"""

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    PretrainedConfig,
)

from worker.rlhf.model import soundness

TEXT_PART = "read images or sound as well"


def refusal(config: PretrainedConfig) -> str | None:
    """Return why models with this configuration cannot be used, naming their type, or None."""
    kind = f"models of type {config.model_type!r}"
    quantized = soundness.quantization(config)
    if quantized is not None:
        return (
            f"{kind} can be used, but the weights of this one are stored in a quantized form "
            f"({quantized}); choose the model that it was made of"
        )
    if type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING and config.is_encoder_decoder:
        return None
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    if config.get_text_config() is not config:
        return (
            f"{kind} {TEXT_PART}, and transformers has no class that loads their language part "
            "alone as a causal language model; choose a text model"
        )
    return f"{kind} do not continue text: transformers has no causal language model of this type"


def has_other_parts(config: PretrainedConfig) -> bool:
    """Return whether a model has parts besides its language model, which text does not reach."""
    return config.get_text_config() is not config and not config.is_encoder_decoder


def refuse(config: PretrainedConfig) -> None:
    """Raise for a model type that cannot be a base model.

    Raises:
        ValueError: naming the type and the reason.
    """
    reason = refusal(config)
    if reason is not None:
        raise ValueError(reason)
