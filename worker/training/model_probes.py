"""What trying a miniature of a model tells: how it is sampled, trained and laid out in rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForCausalLM,
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
        has_classifier: whether plain transformers loads its reward models.
        is_encoder_decoder: whether an encoder reads the prompt.
    """

    architecture: str
    engine: EngineChoice
    packing: LayoutProbe
    shared_prompts: LayoutProbe
    adapted: frozenset[str]
    trained_layers: tuple[str, ...]
    has_frozen_experts: bool
    has_classifier: bool
    is_encoder_decoder: bool = False

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
                "An encoder reads the prompt and a decoder writes the response; adapters are on "
                "few layers by default, and the card of a reward model has the code that loads it."
            )
        elif not self.has_classifier:
            yield (
                f"transformers has no classifier for models of type {model_type!r}: their reward "
                "models work here, but plain transformers cannot load them."
            )


def tried(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, *, at_own_size: bool = False
) -> TriedModel:
    """Try a model on a miniature; at its own size if it has none and that is allowed.

    Raises:
        ValueError: naming the model type, if it cannot be tried, trained or sampled.
    """
    if config.is_encoder_decoder:
        return _encoder_decoder(config)
    small = _model(config, at_own_size=at_own_size, keep_windows=False)
    loaded = models.adopt(
        _model(config, at_own_size=at_own_size, keep_windows=True), tokenizer, config.model_type
    )
    # The tokenizer's own padding may lie outside the small vocabulary.
    roles = Roles(replace(loaded, pad_id=0))
    names = adapter_targets.all_linear(roles.causal)
    return TriedModel(
        architecture=type(small).__name__,
        engine=cache_probe.choose(small),
        packing=packing.probe(roles),
        shared_prompts=scoring.probe(roles),
        adapted=adapter_targets.patterns(names),
        trained_layers=adapter_targets.leaves(names),
        has_frozen_experts=_has_frozen_experts(roles.causal),
        has_classifier=type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    )


def _encoder_decoder(config: PretrainedConfig) -> TriedModel:
    """Return how an encoder–decoder is used; its layouts do not depend on its family."""
    with torch.device("meta"):
        model: PreTrainedModel = models.class_of(config).from_config(config)
    names = adapter_targets.named(model, encoder_decoder.lora_targets(model))
    return TriedModel(
        architecture=type(model).__name__,
        engine=cache_probe.choose(model),
        packing=LayoutProbe(False, None, packing.ENCODED),
        shared_prompts=LayoutProbe(True, None, scoring.ENCODED),
        adapted=adapter_targets.patterns(names),
        trained_layers=adapter_targets.leaves(names),
        has_frozen_experts=False,
        has_classifier=False,
        is_encoder_decoder=True,
    )


def _model(config: PretrainedConfig, *, at_own_size: bool, keep_windows: bool) -> PreTrainedModel:
    try:
        model = miniature.build(config, keep_windows=keep_windows)
        models.prepare(model)
        with torch.no_grad():
            model(input_ids=torch.arange(4)[None], use_cache=False)
    except miniature.FAILURES as error:
        if not at_own_size:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"models of type {config.model_type!r} could not be tried in small: {reason}"
            ) from error
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        models.prepare(model)
    return model


def _has_frozen_experts(model: PreTrainedModel) -> bool:
    """Return whether experts are stacked in parameters, which adapters on layers leave out."""
    return any(
        parameter.ndim == 3 and ".experts." in name for name, parameter in model.named_parameters()
    )
