"""What can be done with a model, told before anything is built on it.

The model is not loaded. The configuration, the tokenizer and the headers of the weights tell what
they can; the rest is tried on a miniature of the model, with the same probes that runs use on the
loaded model: what decides here decides there. `guard` is the part that every run repeats once its
base is loaded.
"""

from dataclasses import replace
from typing import Final

import torch
from safetensors import SafetensorError
from transformers import (
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from app.domain.checked_model import CheckedModel
from app.errors import Invalid
from worker.rlhf.model import adapter_targets, encoder_decoder, miniature, soundness, supported
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.model.soundness import UnsoundFiles
from worker.rlhf.sampling import cache_probe
from worker.training import model_facts, model_probes, model_sources

FP32_BYTES: Final = 4
TRAINED_BYTES: Final = 16  # weight, gradient and both moments of Adam in fp32
ADAPTERS: Final = 3  # policy, value and reward
SMALL: Final = 50_000_000
"""A model of up to this many parameters is probed at its own size if it has no miniature."""


def check(name: str, *, device: str = "cpu") -> CheckedModel:
    """Check a model by its path or hub name; what is wrong with it is in the result."""
    known = CheckedModel(name, bytes_here=model_facts.memory_of(device))
    try:
        config = model_facts.config_of(name)
        known = replace(known, model_type=config.model_type)
        supported.refuse(config)
        tokenizer = model_facts.tokenizer_of(name)
        soundness.refuse_other_tokenizer(tokenizer, config.get_text_config().vocab_size)
        model_facts.refuse_failing_template(tokenizer)
        model_facts.refuse_other_weights(name, config)
        ends = model_facts.ends_of(name, config, tokenizer)
        known = replace(
            known,
            ends={str(id): end for id, end in ends.items()},
            **model_facts.reading(config, tokenizer),
        )
        generation = model_facts.generation_of(name, config)
        return _tried(known, config, tokenizer, generation)
    except (*miniature.FAILURES, OSError, SafetensorError, Invalid) as error:
        return replace(known, refusal=_sentence(error, known))


def guard(roles: Roles, name: str) -> None:
    """Refuse a loaded base that cannot be trained or sampled, before any work is done on it.

    Raises:
        Invalid: naming the model, its type and the reason.
    """
    try:
        cache_probe.choose(roles.causal)
        adapter_targets.all_linear(roles.causal)
    except ValueError as error:
        raise Invalid(f"the model {name} cannot be used: {error}") from error


def _tried(
    known: CheckedModel,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    generation: GenerationConfig,
) -> CheckedModel:
    """Return what trying a miniature tells, and the sizes of the model itself."""
    with torch.device("meta"):
        whole: PreTrainedModel = encoder_decoder.auto_class(config).from_config(config)
    parameters = whole.num_parameters()
    tried = model_probes.tried(
        config,
        tokenizer,
        generation,
        at_own_size=parameters <= SMALL,
    )
    trainable = adapter_targets.parameters(whole, tried.adapted, LoraSettings().r)
    return replace(
        known,
        architecture=tried.architecture,
        parameters=parameters,
        trainable_parameters=trainable,
        trained_layers=tried.trained_layers,
        sampling={"engine": tried.engine.use, "why": tried.engine.why},
        packing=tried.packing.to_json(),
        shared_prompts=tried.shared_prompts.to_json(),
        plain_reward=tried.has_classifier,
        bytes_needed=FP32_BYTES * parameters + ADAPTERS * TRAINED_BYTES * trainable,
        notes=(*known.notes, *tried.notes(config.model_type)),
    )


def _sentence(error: Exception, known: CheckedModel) -> str:
    text = model_sources.reason(error, known.name).strip()
    if not known.model_type or known.model_type in text:
        return text
    is_of_files = isinstance(error, UnsoundFiles | SafetensorError)
    whose = "this model of type" if is_of_files else "models of type"
    return f"{whose} {known.model_type!r}: {text}"
