"""What a worker found out about a base model, in sentences for pages and the command line."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from app.domain import model_size

ENGINES: Final[Mapping[str, str]] = {
    "fused": "fast: merged weights and one cache",
    "cached": "with the model’s own cache",
    "recomputed": "without a cache: each token computes the whole text again",
}


@dataclass(frozen=True, slots=True)
class CheckedModel:
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
        template: whether there is a chat template, and what it has.
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
    ends: Mapping[str, str] = field(default_factory=dict)
    template: Mapping[str, bool] = field(default_factory=dict)
    sampling: Mapping[str, str] = field(default_factory=dict)
    packing: Mapping[str, Any] = field(default_factory=dict)
    shared_prompts: Mapping[str, Any] = field(default_factory=dict)
    plain_reward: bool = False
    bytes_needed: int = 0
    bytes_here: int = 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CheckedModel":
        """Read the result of a check; what it does not know is left out."""
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        for name in ("notes", "trained_layers"):
            known[name] = tuple(known.get(name, ()))
        known["ends"] = {str(id): text for id, text in known.get("ends", {}).items()}
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**asdict(self), "trainable_share": self.trainable_share}

    @property
    def trainable_share(self) -> float:
        """The adapter's size relative to the model's."""
        return self.trainable_parameters / self.parameters if self.parameters else 0.0

    @property
    def facts(self) -> dict[str, str]:
        """The facts by name; empty for a model that cannot be used."""
        if self.refusal is not None:
            return {}
        context = self.context_tokens
        return {
            "Type": f"{self.model_type} ({self.architecture})",
            "Parameters": f"{self.parameters:,}, of which an adapter trains "
            f"{model_size.trainable(self.trainable_parameters, self.parameters)}",
            "Trained layers": ", ".join(self.trained_layers),
            "Context": "no limit stated" if context is None else f"{context:,} tokens",
            "Responses end with": ", ".join(f"{text} ({id})" for id, text in self.ends.items()),
            "Chat template": _template(self.template),
            "Sampling": ENGINES.get(self.sampling["engine"], self.sampling["engine"]),
            "Packed rows": _rows(self.packing),
            "Shared prompts": _rows(self.shared_prompts),
            "Memory": f"about {_gib(self.bytes_needed)} and activations, for training in fp32; "
            f"{_gib(self.bytes_here)} there",
        }

    @property
    def remarks(self) -> tuple[str, ...]:
        """What works in another way than people may expect, memory included."""
        if self.refusal is None and 0 < self.bytes_here < self.bytes_needed:
            short = (
                f"Training needs about {_gib(self.bytes_needed)} and the worker’s device has "
                f"{_gib(self.bytes_here)}: load the base in 4 bits, or use a larger device."
            )
            return (*self.notes, short)
        return self.notes


def _template(found: Mapping[str, bool]) -> str:
    if not found["exists"]:
        return "none"
    system = "with a system turn" if found["system"] else "without a system turn"
    return f"{system}, with thinking" if found["thinking"] else system


def _rows(probe: Mapping[str, Any]) -> str:
    if not probe["is_exact"]:
        return f"no ({probe['why']})"
    return "yes" if probe["window"] is None else f"yes, up to {probe['window']:,} tokens"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
