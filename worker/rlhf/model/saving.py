"""Models as folders that plain transformers and PEFT can load.

An adapter folder refers to its base, which must have a local path or a Hub name by then. A merged
folder is self-contained; merging is done in a copy, because merging and unmerging in bf16 changes
the base. Manifests, hashes and model cards are left to the caller.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from worker.rlhf.core import tensor_files
from worker.rlhf.model import adapter_keys, encoder_decoder, ends, models
from worker.rlhf.model.merged_weights import merged_weight
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import LoraSettings, Roles

ADAPTER_FILE = "adapter_model.safetensors"
HALVES = frozenset({torch.bfloat16, torch.float16})
HEAD_KEY = "base_model.model.score.weight"
CLASSIFIER, STATES = "SEQ_CLS", "FEATURE_EXTRACTION"
REWARD_TASKS = frozenset({CLASSIFIER, STATES})
"""What PEFT calls the task of a reward model: the latter on an encoder–decoder model."""


def save_full(loaded: LoadedModel, folder: Path | str) -> LoadedModel:
    """Write a complete model with its tokenizer, and return it with the folder as its path.

    A model that came from files of lower precision is stored in that again: its weights are
    rounded, and take half the space. Adapters are left out. Adapters saved later refer to this
    folder as their base, so a model that was built here must be saved first.
    """
    whole = _merged_copy(loaded.model)
    if loaded.stored_dtype in HALVES:
        whole = whole.to(loaded.stored_dtype)  # type: ignore[arg-type]
    whole.config.num_labels = 1  # PEFT loads reward adapters on this folder without being told
    whole.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    loaded.model.name_or_path = str(folder)
    return replace(loaded, path=str(folder))


def save_policy(
    roles: Roles, folder: Path | str, *, merged: bool = False, role: str = "policy"
) -> None:
    """Write the adapter of a role as a PEFT folder, or base and adapter as one merged model.

    Either has a generation config with every token that ends a response.

    Raises:
        ValueError: if the role has no adapter.
    """
    if merged:
        _merged(roles, role).save_pretrained(folder)
    else:
        save_adapter(roles, folder, role=role)
        loaded = roles.loaded
        ends.generation_config(loaded.ends, loaded.pad_id, loaded.decoder_prefix).save_pretrained(
            folder
        )
    roles.loaded.tokenizer.save_pretrained(folder)


def save_adapter(roles: Roles, folder: Path | str, *, role: str = "policy") -> None:
    """Write the adapter of a role alone, as servers load it onto a base that they have.

    Raises:
        ValueError: if the role has no adapter.
    """
    _save_adapter(roles, role, Path(folder), encoder_decoder.task_type(roles.causal))


def save_reward(
    roles: Roles, folder: Path | str, *, merged: bool = False, role: str = "reward"
) -> None:
    """Write a reward model as a sequence classifier with one label, as an adapter or merged.

    Its logit at the last token that is not padding is the raw score. The score is not normalized:
    mean and standard deviation belong in the manifest. Classifiers of encoder–decoder families read
    another position through further layers, so there the adapter is saved with the head beside it.

    Raises:
        ValueError: if the role has no adapter or no head, or an encoder–decoder is to be merged.
    """
    head = roles.head(role).weight.detach()
    is_pair = roles.loaded.is_encoder_decoder
    if merged and is_pair:
        raise ValueError(
            f"{type(roles.causal).__name__} has no classifier that scores a response in its "
            "decoder; a reward model on it is saved as an adapter"
        )
    if merged:
        _classifier(_merged(roles, role), head).save_pretrained(folder)
    else:
        task = STATES if is_pair else CLASSIFIER
        _save_adapter(roles, role, Path(folder), task, {HEAD_KEY: head})
    roles.loaded.tokenizer.save_pretrained(folder)


def load_policy(roles: Roles, folder: Path | str, role: str = "policy") -> None:
    """Add the adapter in a folder as a role.

    Raises:
        ValueError: if its weights do not fit the base.
    """
    _load_adapter(roles, Path(folder), role)


def load_reward(roles: Roles, folder: Path | str, role: str = "reward") -> None:
    """Add the adapter and the head in a folder as a reward role.

    Raises:
        ValueError: if the folder has no head or its weights do not fit the base.
    """
    tensors = _load_adapter(roles, Path(folder), role)
    if HEAD_KEY not in tensors:
        raise ValueError(f"{folder} has no {HEAD_KEY}; it is not a reward model")
    roles.add_head(role, seed=0)
    with torch.no_grad():
        roles.head(role).weight.copy_(tensors[HEAD_KEY])


def _save_adapter(
    roles: Roles, role: str, folder: Path, task: str, head: dict[str, Tensor] | None = None
) -> None:
    _refuse_without_adapter(roles, role)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = by_saved_key(roles, role)
    copies = {
        key: tensor.detach().cpu().contiguous() for key, tensor in (tensors | (head or {})).items()
    }
    tensor_files.save(copies, folder / ADAPTER_FILE)
    config: Any = copy.deepcopy(roles.peft.peft_config[role])
    config.task_type = task
    config.inference_mode = True
    config.base_model_name_or_path = roles.loaded.path
    config.modules_to_save = ["score"] if task == CLASSIFIER else None
    config.save_pretrained(str(folder))


def _load_adapter(roles: Roles, folder: Path, role: str) -> dict[str, Tensor]:
    config: Any = LoraConfig.from_pretrained(str(folder))
    _refuse_other_kinds(config, folder)
    targets = config.target_modules
    settings = LoraSettings(
        r=config.r,
        alpha=config.lora_alpha,
        targets=targets if isinstance(targets, str) else tuple(sorted(targets)),
    )
    roles.add_adapter(role, settings)
    tensors = tensor_files.load(folder / ADAPTER_FILE)
    parameters = by_saved_key(roles, role)
    unmatched = sorted(parameters.keys() ^ (tensors.keys() - {HEAD_KEY}))
    if unmatched:
        raise ValueError(
            f"adapter in {folder} does not fit its base: {unmatched[:3]} are in only one of them"
        )
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(tensors[key])
    return tensors


def by_saved_key(roles: Roles, role: str) -> dict[str, Tensor]:
    """Return an adapter's parameters under the names that PEFT reads.

    PEFT's own export takes layers that are called like an adapter for parts of it.
    """
    return {
        f"base_model.model.{adapter_keys.with_owner(key.partition('/')[2], None)}": parameter
        for key, parameter in roles.named_parameters_of(role).items()
        if adapter_keys.is_adapter(key)
    }


def _refuse_other_kinds(config: Any, folder: Path) -> None:
    """Refuse adapters whose weights have the same shapes as plain LoRA but another meaning."""
    for name in ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern"):
        value = getattr(config, name, None)
        if value:
            raise ValueError(f"adapter in {folder} has {name} = {value}; plain LoRA is needed")
    if config.bias != "none":
        raise ValueError(f"adapter in {folder} has bias = {config.bias!r}; it must be 'none'")


def _merged(roles: Roles, role: str) -> PreTrainedModel:
    _refuse_without_adapter(roles, role)
    with roles.role(role):
        return _merged_copy(roles.causal)


@torch.no_grad()
def _merged_copy(source: PreTrainedModel) -> PreTrainedModel:
    if models.is_quantized(source):
        raise ValueError(
            "a model loaded in 4 bits cannot be saved in full; load it without quantization"
        )
    # The weights go into a new model: the base is not changed, and no adapter is left in it.
    config = copy.deepcopy(source.config)
    with torch.random.fork_rng():  # saving must not affect the random numbers of a run
        make: Any = type(source)._from_config
        merged_model: PreTrainedModel = make(config, dtype=source.dtype)
    encoder_decoder.untie_as(source, merged_model)
    merged_model.generation_config = copy.deepcopy(source.generation_config)
    layers = {name: m for name, m in source.named_modules() if hasattr(m, "base_layer")}
    weights: dict[str, Tensor] = {}
    for key, tensor in source.state_dict().items():
        layer, is_inner, rest = key.partition(".base_layer.")
        if is_inner:
            merged = merged_weight(layers[layer]) if rest == "weight" else tensor
            weights[f"{layer}.{rest}"] = merged
        elif ".lora_" not in key:
            weights[key] = tensor
    merged_model.load_state_dict(weights)
    return merged_model


def _classifier(causal: PreTrainedModel, head: Tensor) -> PreTrainedModel:
    config = copy.deepcopy(causal.config)
    config.num_labels = 1
    with torch.random.fork_rng():
        make: Any = AutoModelForSequenceClassification.from_config
        classifier: PreTrainedModel = make(config, dtype=causal.dtype)
    classifier.base_model.load_state_dict(causal.base_model.state_dict())
    with torch.no_grad():
        classifier.get_submodule("score").get_parameter("weight").copy_(head)
    return classifier


def _refuse_without_adapter(roles: Roles, role: str) -> None:
    if not roles.has_adapter(role):
        raise ValueError(f"role {role!r} has no adapter to save")
