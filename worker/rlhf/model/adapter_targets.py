"""Which layers of a model an adapter is put on.

"all-linear" means the linear layers that take part in computing the text's hidden states, but for
the output layer. PEFT's own rule goes by type alone, and that is wrong for many families: parts for
images and sound would get adapters that never learn; Jamba reads the weight of a layer without
calling it, so that an adapter on it would do nothing until it is merged; a router that is a linear
layer returns more than a tensor. So the layers are observed in a forward pass.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from worker.rlhf.model import encoder_decoder, sharding
from worker.rlhf.model.merged_weights import base_layer

ALL_LINEAR: Final = "all-linear"
PROBE_TOKENS: Final = 4
BARRED: Final[Mapping[str, frozenset[str]]] = {
    **{
        model_type: frozenset({"out_proj"})
        for model_type in ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
    },
    "gemma3n_text": frozenset({"prediction_coefs", "correction_coefs", "modality_router"}),
}
"""Layers whose weights are also read directly: by fast kernels, which makes PEFT refuse them, or by
the model, which clamps them in place."""
CONVERSIONS: Final = "peft.utils.transformers_weight_conversion"


def resolve(model: PreTrainedModel, targets: str | tuple[str, ...]) -> str | list[str]:
    """Return targets as PEFT reads them: names, or a pattern other than "all-linear"."""
    if targets == ALL_LINEAR:
        return list(all_linear(model))
    return targets if isinstance(targets, str) else list(targets)


def named(model: PreTrainedModel, targets: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the layers that targets mean: the last parts of names, or "all-linear", sorted."""
    if targets == ALL_LINEAR:
        return all_linear(model)
    last = (targets,) if isinstance(targets, str) else targets
    return tuple(sorted(n for n, _ in _linear(model) if n.rpartition(".")[2] in last))


def all_linear(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the names of the layers to adapt, sorted.

    Raises:
        ValueError: if there is none.
    """
    called = patterns(_called(model))
    barred = _barred(model)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    names = sorted(
        name
        for name, module in _linear(model)
        if module is not head and _pattern(name) in called and name.rpartition(".")[2] not in barred
    )
    if not names:
        raise ValueError(f"{model.config.model_type}: there is no linear layer to adapt")
    return tuple(names)


def leaves(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the last parts of layers' names, each once: what people know the layers by."""
    return tuple(sorted({name.rpartition(".")[2] for name in names}))


def _linear(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    """Yield the linear layers, with adapters or without, quantized or not."""
    for name, module in model.named_modules():
        inner = base_layer(module)
        if ".base_layer" not in name and isinstance(inner, nn.Linear | Conv1D):
            yield name, module


@torch.no_grad()
def _called(model: PreTrainedModel) -> set[str]:
    """Return the linear layers that map a tensor to a tensor in a pass over a few tokens."""
    called: set[str] = set()
    with _watched(model, called):
        vocabulary = model.config.get_text_config().vocab_size
        ids = torch.arange(PROBE_TOKENS, device=model.device)[None] % vocabulary
        decoded = {"decoder_input_ids": ids} if encoder_decoder.is_one(model) else {}
        sharding.run(model, partial(model.base_model, input_ids=ids, **decoded, use_cache=False))
    return called


@contextmanager
def _watched(model: PreTrainedModel, called: set[str]) -> Iterator[None]:
    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                called.add(name)

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in _linear(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def patterns(names: Iterable[str]) -> frozenset[str]:
    """Return layers' names without their numbers, which a model of another depth has too."""
    return frozenset(map(_pattern, names))


def parameters(model: PreTrainedModel, adapted: frozenset[str], r: int) -> int:
    """Return the size of an adapter of rank `r` on the layers with these patterns."""
    shapes = (base_layer(m).weight.shape for n, m in _linear(model) if _pattern(n) in adapted)
    return sum(r * (shape[0] + shape[1]) for shape in shapes)


def _pattern(name: str) -> str:
    """Return a layer's name without its numbers: some experts may get no token of the probe."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "N", name)


def _barred(model: PreTrainedModel) -> frozenset[str]:
    """Return the last parts of names that are read directly, or that PEFT reads as the experts'.

    PEFT takes `gate_proj` and its like in some mixtures of experts for the experts of older
    versions, whose matrices are now stacked in one parameter, and would adapt these instead.
    """
    model_type = model.config.get_text_config().model_type
    barred = BARRED.get(model_type, frozenset())
    try:
        conversions = import_module(CONVERSIONS)
    except ImportError:  # an older PEFT, which reads names as they are
        return barred
    base = getattr(conversions, "_MODEL_TO_CONVERSION_PATTERN", {}).get(model_type)
    mapping = getattr(conversions, "_MOE_TARGET_MODULE_MAPPING", {}).get(base, {})
    return barred | frozenset(mapping)
