"""A base model that the processes of a team divide among them (FSDP2's `fully_shard`).

Each process holds a part of every base weight. A layer is gathered for its forward pass, freed, and
gathered again for its backward pass; what is outside the layers (embeddings, last norm, output
head) is gathered at the start of a pass and kept until the next one. If the base is trained, the
gradients of its weights are summed and divided in the backward pass. Adapters and heads are added
after the division and remain whole in every process: they are small, and their gradients are summed
as without it. Before the processes part, the first one gets the whole model.

Source: PyTorch 2.13, `torch.distributed.fsdp.fully_shard`. Departure: gradients are summed, not
averaged, because losses are divided by the count of the whole batch.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from worker.rlhf.core import memory_room
from worker.rlhf.core.parallel import Team

T = TypeVar("T")

KEY: Final = "_attune_shards"
"""The attribute of a divided model that holds its `Shards`; not a module of the model."""
ROOM: Final = 2
"""A gathered model is moved to the first process's GPU if this many times its size is free."""


class Shards:
    """A divided model, and how its processes run and gather it.

    Raises:
        ValueError: if the model's layers are unknown, or it cannot be divided.
    """

    def __init__(self, model: PreTrainedModel, team: Team) -> None:
        self._model, self._team = model, team
        layers, mesh = _layers(model), team.mesh()
        is_partly_loaded = team.is_any(any(p.is_meta for p in model.parameters()))
        if is_partly_loaded:
            _refuse_different(model, team)
        for layer in layers:
            if is_partly_loaded:
                _receive(layer, team)
            fully_shard(layer, mesh=mesh)
        self._outside = _Outside(model)
        if is_partly_loaded:
            _receive(model, team)
        fully_shard(self._outside, mesh=mesh, reshard_after_forward=False)
        self._divided = [m for m in self._outside.modules() if isinstance(m, FSDPModule)]
        for module in self._divided:
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        vars(model)[KEY] = self

    def run(self, act: Callable[[], T]) -> T:
        """Run a forward pass with what is outside the layers gathered; all processes must."""
        self.free()  # an optimizer may have changed the parts since
        passed: T = self._outside(act)
        return passed

    def free(self) -> None:
        """Free what was gathered, so that the model's parameters are its parts again."""
        for module in self._divided:
            module.reshard()

    @torch.no_grad()
    def gather(self) -> None:
        """Make the model whole in the first process, and empty in the others; all must call it.

        The whole model is in the memory of the host, or of the GPU if it fits there well.
        """
        self.free()
        gathered: dict[int, nn.Parameter] = {}
        for module in self._model.modules():
            for name, part in list(module.named_parameters(recurse=False)):
                if isinstance(part, DTensor):
                    if id(part) not in gathered:
                        gathered[id(part)] = self._whole_of(part)
                    setattr(module, name, gathered[id(part)])
        for wrapped in self._divided:
            _release(wrapped)
        del vars(self._model)[KEY]
        device = self._team.device or torch.device("cpu")
        if self._team.is_first and device.type != "cpu":
            size = sum(p.numel() * p.element_size() for p in gathered.values())
            free = memory_room.free_bytes(device)
            target = device if free is not None and free > ROOM * size else torch.device("cpu")
            self._model.to(target)  # type: ignore[arg-type]

    def _whole_of(self, part: DTensor) -> nn.Parameter:
        gathered = whole(part)
        kept = gathered.cpu() if self._team.is_first else gathered.new_empty(0, device="cpu")
        return nn.Parameter(kept, requires_grad=part.requires_grad)


class _Outside(nn.Module):
    """What is outside the layers: a root around a model, whose pass is any function of it."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, act: Callable[[], T]) -> T:
        return act()


def of(model: PreTrainedModel) -> Shards | None:
    """Return how a model is divided, or None if it is whole."""
    shards = vars(model).get(KEY)
    assert shards is None or isinstance(shards, Shards)
    return shards


def run(model: PreTrainedModel, act: Callable[[], T]) -> T:
    """Run a forward pass of a model, whole or divided."""
    shards = of(model)
    return act() if shards is None else shards.run(act)


def whole(part: Tensor) -> Tensor:
    """Return a tensor of which processes hold parts, in all of them; all must call it."""
    gathered: Tensor = part.full_tensor() if isinstance(part, DTensor) else part
    return gathered


def divide(model: PreTrainedModel, team: Team) -> Shards:
    """Divide a model among the processes of a team, onto the device of each.

    Raises:
        ValueError: if the model's layers are unknown.
    """
    return Shards(model, team)


def _layers(model: PreTrainedModel) -> list[nn.Module]:
    kind = f"models of type {model.config.model_type!r}"
    if getattr(model, "quantization_method", None) is not None:
        raise ValueError(f"{kind} in 4 bits cannot be divided; use parallel = data")
    if model.config.is_encoder_decoder:
        raise ValueError(
            f"{kind} have an encoder and a decoder, which cannot be divided among processes; use "
            "parallel = data"
        )
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise ValueError(
            f"{kind} do not name their layers, so they cannot be divided among processes; use "
            "parallel = data"
        )
    return layers


def _refuse_different(model: PreTrainedModel, team: Team) -> None:
    """Refuse to send weights that are of other shapes or precisions where they arrive."""
    listed = [
        f"{name}: {tuple(tensor.shape)} {tensor.dtype}"
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    ]
    different = [set(other) ^ set(listed) for other in team.gather([listed])]
    first = next((min(names) for names in different if names), None)
    if first is not None:
        raise ValueError(f"{first} is not in the model of every process; use parallel = data")


@torch.no_grad()
def _receive(module: nn.Module, team: Team) -> None:
    """Give the weights and buffers that are not divided yet those of the first process."""
    received: dict[int, Tensor] = {}  # a tied weight comes once
    for owner in module.modules():
        own = [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]
        for name, tensor in own:
            if isinstance(tensor, DTensor):
                continue
            if id(tensor) not in received:
                received[id(tensor)] = _from_first(tensor, team)
            setattr(owner, name, received[id(tensor)])


def _from_first(tensor: Tensor, team: Team) -> Tensor:
    device = team.device or torch.device("cpu")
    whole = torch.empty_like(tensor, device=device)
    if team.is_first:
        whole = tensor.detach().to(device).contiguous()
    team.send(whole)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(whole, requires_grad=tensor.requires_grad)
    return whole


def _release(module: FSDPModule) -> None:
    """Undo `fully_shard` on a module whose parameters were replaced: its hooks and its class."""
    state: Any = module._get_fsdp_state()
    state._pre_forward_hook_handle.remove()
    state._post_forward_hook_handle.remove()
    for group in state._fsdp_param_groups:
        for handles in (
            group._module_to_pre_save_state_dict_hook_handle,
            group._module_to_pre_load_state_dict_hook_handle,
        ):
            for handle in handles.values():
                handle.remove()
    module.__class__ = type(module).__mro__[module._orig_cls_mro_index]
