"""What trying a miniature of a model tells: how it is sampled, trained and laid out in rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from worker.rlhf.core.layout_probe import LayoutProbe
from worker.rlhf.model import adapter_targets, encoder_decoder, miniature, models
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import scoring
from worker.rlhf.sampling import cache_probe
from worker.rlhf.sampling.cache_probe import EngineChoice
from worker.rlhf.sft import packing


@dataclass(frozen=True, slots=True)
class TriedModel:
    """How a model is used.

    Attributes:
        architecture: the class that is loaded.
        engine: how it is sampled.
        packing: whether demonstrations share rows.
        shared_prompts: whether completions share their prompt.
        adapted: the patterns of the layers that an adapter is on.
        trained_layers: the last parts of their names.
        has_frozen_experts: whether it has experts that no adapter is on.
        is_encoder_decoder: whether an encoder reads the prompt.
        has_classifier: whether plain transformers loads its reward models.
    """

    architecture: str
    engine: EngineChoice
    packing: LayoutProbe
    shared_prompts: LayoutProbe
    adapted: frozenset[str]
    trained_layers: tuple[str, ...]
    has_frozen_experts: bool
    is_encoder_decoder: bool
    has_classifier: bool

    def notes(self, model_type: str) -> Iterator[str]:
        """Yield what works in another way than people may expect."""
        if self.engine.use == "recomputed":
            yield (
                "Each sampled token computes the whole text again, which is slow for long "
                f"responses: {self.engine.why}."
            )
        if self.has_frozen_experts:
            yield "Adapters train the layers that all tokens share; the experts are not changed."
        if self.is_encoder_decoder:
            yield (
                "Its encoder reads the prompt. Its reward models load with the code on their card, "
                "and not as classifiers of plain transformers."
            )
        elif not self.has_classifier:
            yield (
                f"transformers has no classifier for models of type {model_type!r}: their reward "
                "models work here, but plain transformers cannot load them."
            )


def tried(
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    generation: GenerationConfig | None = None,
    *,
    at_own_size: bool = False,
) -> TriedModel:
    """Try a model on a miniature; at its own size if it has none and that is allowed.

    Raises:
        ValueError: naming the model type, if it cannot be tried, trained or sampled.
    """
    small = _model(config, at_own_size=at_own_size, keep_windows=False)
    windowed = _model(config, at_own_size=at_own_size, keep_windows=True)
    if generation is not None and generation.decoder_start_token_id is not None:
        # Where responses begin is in the generation config, and is any token of a miniature's.
        windowed.generation_config.decoder_start_token_id = 0
    loaded = models.adopt(windowed, tokenizer, config.model_type)
    # The tokenizer's own padding may lie outside the small vocabulary.
    roles = Roles(replace(loaded, pad_id=0))
    names = adapter_targets.named(roles.causal, encoder_decoder.lora_targets(roles.causal))
    return TriedModel(
        architecture=type(small).__name__,
        engine=cache_probe.choose(small),
        packing=packing.probe(roles),
        shared_prompts=scoring.probe(roles),
        adapted=adapter_targets.patterns(names),
        trained_layers=adapter_targets.leaves(names),
        has_frozen_experts=_has_frozen_experts(roles.causal),
        is_encoder_decoder=loaded.is_encoder_decoder,
        has_classifier=not loaded.is_encoder_decoder
        and type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    )


def _model(config: PretrainedConfig, *, at_own_size: bool, keep_windows: bool) -> PreTrainedModel:
    try:
        model = miniature.build(config, keep_windows=keep_windows)
        models.prepare(model)
        with torch.no_grad():
            ids = torch.arange(4)[None]
            decoded = {"decoder_input_ids": ids} if encoder_decoder.is_one(model) else {}
            model(input_ids=ids, **decoded, use_cache=False)
    except miniature.FAILURES as error:
        if not at_own_size:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"models of type {config.model_type!r} could not be tried in small: {reason}"
            ) from error
        model = encoder_decoder.auto_class(config).from_config(config)
        models.prepare(model)
    return model


def _has_frozen_experts(model: PreTrainedModel) -> bool:
    """Return whether experts are stacked in parameters, which adapters on layers leave out."""
    return any(
        parameter.ndim == 3 and ".experts." in name for name, parameter in model.named_parameters()
    )
