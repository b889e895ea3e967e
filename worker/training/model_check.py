"""What can be done with a model, told before anything is built on it.

No weights are loaded. The configuration and the tokenizer tell what they can; the rest is tried on
a miniature of the model, with the same probes that runs use on the loaded model: what decides here
decides there. `guard` is the part that every run repeats once its base is loaded.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from app.errors import Invalid
from worker.rlhf.model import adapter_targets, encoder_decoder, miniature, supported
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.sampling import cache_probe
from worker.training import model_facts, model_probes, model_sources

FP32_BYTES: Final = 4
TRAINED_BYTES: Final = 16  # weight, gradient and both moments of Adam in fp32
ADAPTERS: Final = 3  # policy, value and reward
SMALL: Final = 50_000_000
"""A model of up to this many parameters is probed at its own size if it has no miniature."""


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What is known of a model; a model with a refusal cannot be used.

    Attributes:
        name: the path or the hub name.
        refusal: why it cannot be used; None if it can.
        notes: what works in another way than people may expect.
        model_type: the family's name in transformers.
        architecture: the class that is loaded.
        parameters: of the whole model.
        trainable_parameters: of an adapter with the default settings.
        trained_layers: the layers that the adapter is on.
        context_tokens: the longest sequence; None if the model states none.
        ends: the ids of the tokens that end a response, with their text.
        template: "none", or what the chat template has.
        sampling: how it is sampled, and why.
        packing: whether demonstrations share rows, up to which length, and why.
        shared_prompts: whether completions share their prompt, up to which length, and why.
        plain_reward: whether plain transformers has a class that loads its reward models.
        bytes_needed: an estimate for training in fp32 with adapters, without activations.
        bytes_here: the memory of the device that was asked about.
    """

    name: str
    refusal: str | None = None
    notes: tuple[str, ...] = ()
    model_type: str = ""
    architecture: str = ""
    parameters: int = 0
    trainable_parameters: int = 0
    trained_layers: tuple[str, ...] = ()
    context_tokens: int | None = None
    ends: Mapping[int, str] = field(default_factory=dict)
    template: Mapping[str, bool] = field(default_factory=dict)
    sampling: Mapping[str, str] = field(default_factory=dict)
    packing: Mapping[str, object] = field(default_factory=dict)
    shared_prompts: Mapping[str, object] = field(default_factory=dict)
    plain_reward: bool = False
    bytes_needed: int = 0
    bytes_here: int = 0

    @property
    def trainable_share(self) -> float:
        """The adapter's size relative to the model's."""
        return self.trainable_parameters / self.parameters if self.parameters else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**asdict(self), "trainable_share": self.trainable_share}


def check(name: str, *, device: str = "cpu") -> ModelCheck:
    """Check a model by its path or hub name; what is wrong with it is in the result."""
    known = ModelCheck(name, bytes_here=model_facts.memory_of(device))
    try:
        config = model_facts.config_of(name)
        known = replace(known, model_type=config.model_type)
        supported.refuse(config)
        tokenizer = model_facts.tokenizer_of(name)
        model_facts.refuse_other_weights(name)
        known = replace(
            known,
            ends=model_facts.ends_of(name, config, tokenizer),
            **model_facts.reading(config, tokenizer),
        )
        return _tried(known, config, tokenizer)
    except (*miniature.FAILURES, OSError) as error:
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
    known: ModelCheck, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> ModelCheck:
    """Return what trying a miniature tells, and the sizes of the model itself."""
    with torch.device("meta"):
        whole: PreTrainedModel = encoder_decoder.auto_class(config).from_config(config)
    parameters = whole.num_parameters()
    tried = model_probes.tried(
        config,
        tokenizer,
        model_facts.generation_of(known.name, config),
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


def _sentence(error: Exception, known: ModelCheck) -> str:
    text = model_sources.reason(error, known.name)
    has_type = not known.model_type or known.model_type in text
    return text.strip() if has_type else f"models of type {known.model_type!r}: {text.strip()}"
