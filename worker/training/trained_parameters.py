"""How many parameters a training trains, for logs, cards and the rows of checkpoints."""

from collections.abc import Sequence
from typing import Any, Final

from app.domain import model_size
from worker.rlhf.model import adapter_keys
from worker.rlhf.model.roles import BASE, Roles
from worker.training.training_loop import RunPlace

SIZE: Final = "size"


def of(roles: Roles, names: Sequence[str]) -> dict[str, Any]:
    """Return the setting that records them: of the whole model with these roles, and of these."""
    adapters = sum(
        p.numel() for key, p in roles.causal.named_parameters() if adapter_keys.is_adapter(key)
    )
    base = int(roles.causal.num_parameters()) - adapters
    own = 0 if BASE in names else sum(p.numel() for n in names for p in roles.parameters_of(n))
    trained = base if BASE in names else own
    return {SIZE: {"parameters": base + own, "trainable_parameters": trained}}


def say(place: RunPlace, roles: Roles, names: Sequence[str]) -> None:
    """Write them to the log of the run."""
    size = of(roles, names)[SIZE]
    words = model_size.words(size["parameters"], size["trainable_parameters"])
    place.say(f"Parameters: {words}.")
