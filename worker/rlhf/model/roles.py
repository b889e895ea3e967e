"""One base model with several roles: policy, value and reward are LoRA adapters with heads.

The reference is the base with adapters off, or the "sft" adapter if there is one. Roles are
activated by a context manager; outside of any, the model is its base. What is trained, and with
which loss, is left to the training loops.
"""

import warnings
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from worker.rlhf.core import batches
from worker.rlhf.core.batches import EncoderInput
from worker.rlhf.core.branch_rows import BranchRows
from worker.rlhf.core.logprobs import LmHead
from worker.rlhf.core.memory_room import MemoryRoom
from worker.rlhf.core.parallel import Team
from worker.rlhf.model import (
    adapter_keys,
    adapter_targets,
    encoder_decoder,
    llama,
    models,
    sharding,
)
from worker.rlhf.model.adapter_switch import AdapterSwitch
from worker.rlhf.model.live_graphs import BackwardMarker, LiveGraph
from worker.rlhf.model.models import LoadedModel

BASE = "base"
REFERENCE = "reference"
SFT = "sft"
POLICY = "policy"


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Shape of an adapter. There is no dropout, since a policy's ratio to itself must be 1."""

    r: int = 16
    alpha: int = 32
    targets: str | tuple[str, ...] = "all-linear"


class Roles:
    """A base model with named adapters and heads, of which one role is active at a time.

    `team` is the processes that train it together, each with a full copy of the base, or with a
    part of it if the team shards; `room` is what the device's memory leaves for their forward
    passes.
    """

    def __init__(self, loaded: LoadedModel, team: Team | None = None) -> None:
        self.loaded = loaded
        self.team = team or Team()
        self.room = MemoryRoom()
        self.causal = loaded.model
        self.heads = nn.ModuleDict()
        self.settings: dict[str, LoraSettings] = {}
        self._peft: PeftModel | None = None
        self._active = BASE
        self._adapters = AdapterSwitch()
        self._adapter_parameters: list[nn.Parameter] = []
        self._live: weakref.WeakSet[LiveGraph] = weakref.WeakSet()
        self._checkpoints = False
        self.causal.requires_grad_(False)
        if self.team.is_sharding:
            self.room.is_fixed = True  # a pass cannot be repeated by one process alone
            sharding.divide(self.causal, self.team)
        models.refuse_unknown_logits(self.causal)

    # Properties

    @property
    def device(self) -> torch.device:
        """The device of the base model."""
        return self.causal.device

    @property
    def pad_id(self) -> int:
        """The padding id, which never ends a response."""
        return self.loaded.pad_id

    @property
    def active(self) -> str:
        """The active adapter, or "base"."""
        return self._active

    @property
    def switches(self) -> int:
        """How often the active adapter has changed."""
        return self._adapters.count

    @property
    def peft(self) -> PeftModel:
        """The model wrapped by PEFT.

        Raises:
            ValueError: if no adapter was added.
        """
        if self._peft is None:
            raise ValueError("there is no adapter yet")
        return self._peft

    def has_adapter(self, name: str) -> bool:
        """Return whether the adapter exists."""
        return name in self.settings

    def parameters_of(self, name: str) -> list[nn.Parameter]:
        """Return the parameters of a role: its adapter and head, or all of the base model."""
        return list(self.named_parameters_of(name).values())

    def named_parameters_of(self, name: str) -> dict[str, nn.Parameter]:
        """Return the parameters of a role under stable names.

        Raises:
            ValueError: if the role has neither adapter nor head.
        """
        if name == BASE:
            shards = sharding.of(self.causal)
            if shards is not None:
                shards.free()  # else some would be copies that the next pass replaces
            return {
                key: p
                for key, p in self.causal.named_parameters()
                if not adapter_keys.is_adapter(key)
            }
        parameters = {
            f"{name}/{key}": p
            for key, p in self.causal.named_parameters()
            if self.has_adapter(name) and adapter_keys.owner(key) == name
        }
        if name in self.heads:
            parameters[f"{name}/head"] = next(self.head(name).parameters())
        if not parameters:
            raise ValueError(f"role {name!r} has neither adapter nor head")
        return parameters

    # Creating roles

    def add_adapter(
        self,
        name: str,
        settings: LoraSettings = LoraSettings(),
        init_from: str | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """Add a trainable adapter: a new one, which has no effect yet, or a copy of another.

        Raises:
            ValueError: if the name is taken or reserved, or the adapter to copy does not exist or
                has another shape.
        """
        self._refuse_adapter(name, settings, init_from)
        trainable = [(p, p.requires_grad) for p in self._adapter_parameters]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._inject(name, settings)
        self.settings[name] = settings
        if init_from is not None:
            self._copy(init_from, name)
        self._adapters.find(self.causal)
        self._adapter_parameters = [
            p for k, p in self.causal.named_parameters() if adapter_keys.is_adapter(k)
        ]
        # PEFT made the new adapter the active one and froze the others.
        before, self._active = self._active, name
        self._switch(before)
        for parameter, requires_grad in trainable:
            parameter.requires_grad_(requires_grad)
        for parameter in self.parameters_of(name):
            parameter.requires_grad_(True)

    def add_policy(self, settings: LoraSettings, *, seed: int) -> None:
        """Add the policy adapter, as a copy of the SFT adapter if there is one."""
        source = SFT if self.has_adapter(SFT) else None
        self.add_adapter(POLICY, settings, init_from=source, seed=seed)

    def add_head(self, name: str, seed: int) -> None:
        """Add a scalar head in fp32, drawn from a normal of standard deviation 1/sqrt(d+1).

        The initialization is that of Stiennon et al. 2020 (arXiv 2009.01325), appendix B.1.

        Raises:
            ValueError: if the role already has one.
        """
        if name in self.heads:
            raise ValueError(f"role {name!r} already has a head")
        width = models.output_width(self.causal)
        head = nn.Linear(width, 1, bias=False, dtype=torch.float32)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            head.weight.copy_(torch.randn(1, width, generator=generator) / (width + 1) ** 0.5)
        self.heads[name] = head.to(self.device)

    def copy_role(self, source: str, target: str) -> None:
        """Copy an adapter, and its head if both roles have one, into another of the same shape."""
        self._copy(source, target)
        if source in self.heads and target in self.heads:
            with torch.no_grad():
                self.head(target).weight.copy_(self.head(source).weight)

    def checkpoint_gradients(self, enabled: bool) -> None:
        """Turn gradient checkpointing on or off; with it, only the inputs of layers are kept."""
        if enabled:
            self.causal.activation_checkpointing_enable(
                activation_checkpointing_kwargs={"use_reentrant": False}
            )
            # The library makes embeddings require gradients, which only reentrant checkpoints need.
            self.causal.disable_input_require_grads()  # type: ignore[no-untyped-call]
            encoder_decoder.keep_biases_constant(self.causal)
        else:
            self.causal.activation_checkpointing_disable()  # type: ignore[no-untyped-call]
        self._checkpoints = enabled

    def gather(self) -> None:
        """Make a divided base whole in the first process, which continues alone; all must call it.

        In the other processes it is empty then.
        """
        shards = sharding.of(self.causal)
        if shards is None:
            return
        shards.gather()
        if self.team.is_first:
            self.heads.to(self.device)

    # Using roles

    @contextmanager
    def role(self, name: str) -> Iterator[None]:
        """Activate a role; on exit the previous role is active again.

        With gradient checkpointing, the backward pass must be inside the context as well. The
        context leaves `requires_grad` unchanged: PEFT's own switch turns it off for all other
        adapters, so a joint backward would silently skip them.

        Raises:
            ValueError: if there is no such role.
            RuntimeError: if a checkpointed forward pass awaits its backward, which would recompute
                its layers under the wrong role.
        """
        before = self._active
        self._switch(self._adapter_of(name))
        try:
            yield
        except BaseException:
            self._live.clear()  # the graph is freed with the exception
            self._switch(before)
            raise
        self._switch(before)

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        where: Tensor | None = None,
        *,
        encoder: EncoderInput | None = None,
        branches: BranchRows | None = None,
    ) -> Tensor:
        """Return the last hidden states under the active role, [B, T] -> [B, T, d].

        `attention_mask` is `is_real` [B, T], or a mask per pair of tokens [B, 1, T, T], True where
        the query may attend. With `where`, a mask [B, T] or flat indices [N], only those positions
        are returned, [N, d]. Hidden states at padding are undefined. In an encoder–decoder model
        the rows are the decoder's. `branches` is what the mask allows, for models that can use it.

        Raises:
            ValueError: if `encoder` is given but the model has none, or the other way round.
        """
        if self.loaded.is_encoder_decoder != (encoder is not None):
            raise ValueError("the input of the encoder goes with an encoder–decoder model only")
        if llama.supports(self.causal):
            return llama.hidden(
                self.causal, input_ids, attention_mask, position_ids, where, branches
            )
        if attention_mask is not None and attention_mask.ndim == 4:
            attention_mask = batches.for_attention(attention_mask, self.causal)
        with self._checkpointing():
            hidden = models.hidden(self.causal, input_ids, attention_mask, position_ids, encoder)
        if self._checkpoints and hidden.requires_grad:
            hidden = self._watched(hidden)
        return hidden if where is None else hidden.flatten(0, 1)[batches.flat_indices(where)]

    def logits(self, hidden: Tensor) -> Tensor:
        """Return next-token logits, [N, d] -> [N, V]; the `lm_head` of `logprobs.of_tokens`."""
        return models.logits(self.causal, hidden)

    def lm_head(self) -> LmHead:
        """Return `logits` for many chunks, with the weight prepared once, inside autocast."""
        return partial(models.logits, self.causal, head=models.output_head(self.causal))

    def score(self, name: str, hidden: Tensor) -> Tensor:
        """Apply a head to hidden states in the head's own fp32, [..., d] -> [...].

        Raises:
            ValueError: if the role has no head.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            head = self.head(name)
            value: Tensor = head(hidden.to(head.weight.dtype))
        return value.squeeze(-1)

    # Internals

    def _adapter_of(self, role: str) -> str:
        if role == REFERENCE:
            return SFT if self.has_adapter(SFT) else BASE
        if role == BASE or self.has_adapter(role):
            return role
        raise ValueError(f"there is no role {role!r}; adapters: {sorted(self.settings)}")

    def _switch(self, adapter: str) -> None:
        if adapter != self._active and any(live.alive for live in self._live):
            raise RuntimeError(
                f"cannot switch from {self._active!r} to {adapter!r}: "
                "a checkpointed forward pass awaits its backward"
            )
        if adapter == self._active:
            return
        self._adapters.activate(None if adapter == BASE else adapter)
        self._active = adapter

    def _inject(self, name: str, settings: LoraSettings) -> None:
        targets = adapter_targets.resolve(self.causal, settings.targets)
        config = LoraConfig(
            r=settings.r,
            lora_alpha=settings.alpha,
            target_modules=targets,
            lora_dropout=0.0,
            # GPT-2 and similar models store their weights transposed.
            fan_in_fan_out=any(isinstance(m, Conv1D) for m in self.causal.modules()),
            task_type=encoder_decoder.task_type(self.causal),
            base_model_name_or_path=self.loaded.path,
        )
        if self._peft is None:
            with warnings.catch_warnings():
                # PEFT reads a property that transformers has renamed.
                warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
                self._peft = get_peft_model(self.causal, config, adapter_name=name)
        else:
            self._peft.add_adapter(name, config)

    def _copy(self, source: str, target: str) -> None:
        source_parameters = self.named_parameters_of(source)
        with torch.no_grad():
            for key, parameter in self.named_parameters_of(target).items():
                if adapter_keys.is_adapter(key):
                    own_key = key.removeprefix(f"{target}/")
                    source_key = f"{source}/{adapter_keys.with_owner(own_key, source)}"
                    parameter.copy_(source_parameters[source_key])

    def head(self, name: str) -> nn.Linear:
        """Return a role's head.

        Raises:
            ValueError: if the role has no head.
        """
        if name not in self.heads:
            raise ValueError(f"role {name!r} has no head; heads: {sorted(self.heads)}")
        head = self.heads[name]
        assert isinstance(head, nn.Linear)
        return head

    @contextmanager
    def _checkpointing(self) -> Iterator[None]:
        """Switch to training mode, which checkpointing requires; there is no dropout.

        Only if gradients are enabled: in training mode with checkpointing, layers ignore the cache
        used for sampling.
        """
        if not (self._checkpoints and torch.is_grad_enabled()):
            yield
            return
        self.causal.train()
        try:
            yield
        finally:
            self.causal.eval()  # type: ignore[no-untyped-call]

    def _watched(self, hidden: Tensor) -> Tensor:
        live = LiveGraph()
        self._live.add(live)
        watched: Tensor = BackwardMarker.apply(hidden, live)  # type: ignore[no-untyped-call]
        return watched

    def _refuse_adapter(self, name: str, settings: LoraSettings, init_from: str | None) -> None:
        if name in (BASE, REFERENCE) or "." in name or "/" in name:
            raise ValueError(f"an adapter cannot be named {name!r}")
        if self.has_adapter(name):
            raise ValueError(f"adapter {name!r} already exists")
        if init_from is None:
            return
        if not self.has_adapter(init_from):
            raise ValueError(
                f"adapter {name!r} cannot be copied from {init_from!r}, which does not exist"
            )
        if self.settings[init_from] != settings:
            raise ValueError(
                f"adapter {name!r} with {settings} cannot be copied from {init_from!r} with "
                f"{self.settings[init_from]}"
            )


def loaded_of(model: Roles | LoadedModel) -> LoadedModel:
    """Return the loaded model, with or without roles."""
    return model.loaded if isinstance(model, Roles) else model


def run_as(model: Roles | LoadedModel, role: str | None) -> AbstractContextManager[None]:
    """Return the context of a role; None is the active one."""
    return model.role(role) if isinstance(model, Roles) and role is not None else nullcontext()
