"""Models by path or hub name: full models, and adapters of Attune or PEFT with their base."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.errors import Invalid
from worker import artifacts
from worker.rlhf.core.parallel import Team
from worker.rlhf.model import chat_options, models, saving
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.roles import BASE, SFT, Roles
from worker.rlhf.reward import reasoning, scoring
from worker.rlhf.reward.normalizer import Normalizer
from worker.rlhf.reward.scoring import AdapterReward, RewardFunction
from worker.training import model_check, reward_parts
from worker.training.model_card import TRAINING

ADAPTER: Final = "adapter_config.json"
MODEL: Final = "model"  # below the folder that a run writes


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that generates, and the role to run it in."""

    roles: Roles
    role: str
    name: str


def open_model(
    name: str,
    device: str,
    *,
    four_bit: bool = False,
    team: Team | None = None,
    chat: ChatOptions = chat_options.DEFAULT,
) -> Opened:
    """Load a full model, in 4 bits if requested, or an adapter with its base model.

    Raises:
        Invalid: there is no such model, or it is a reward model.
    """
    location = located(name)
    folder = Path(location)
    if not (folder / ADAPTER).is_file():
        if (folder / "reward" / ADAPTER).is_file():
            raise Invalid(f"{name} is a reward model; it scores responses and cannot generate")
        return Opened(_whole(location, device, four_bit, team, chat), BASE, name)
    config = _adapter(folder)
    if config.get("task_type") in saving.REWARD_TASKS:
        raise Invalid(f"{name} is a reward model; it scores responses and cannot generate")
    roles = _whole(base_of(folder), device, four_bit, team, chat)
    try:
        saving.load_policy(roles, folder, SFT)
    except (ValueError, OSError) as error:
        raise Invalid(f"the adapter {name} cannot be used: {_first(error)}") from error
    return Opened(roles, SFT, name)


def located(name: str) -> str:
    """Return a model's location: the folder itself, the one a run left in it, or the hub name."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return name
    inner = folder / MODEL
    is_run = not (folder / "config.json").exists() and (inner / artifacts.MANIFEST).is_file()
    return str((inner if is_run else folder).resolve())


def base_of(folder: Path) -> str:
    """Return the base model of an adapter."""
    base = str(_adapter(folder).get("base_model_name_or_path") or "")
    if not base:
        raise Invalid(f"{folder / ADAPTER} does not name the adapter's base model")
    return located(base)


def add_reward(
    roles: Roles, name: str, *, penalty: float = 0.0, device: str = "cpu"
) -> tuple[RewardFunction, Normalizer]:
    """Add the reward model of a run's folder to a base; return the whole reward and the scale.

    Raises:
        Invalid: it is not a reward model trained by `attune`, or it has another base.
    """
    folder = Path(located(name))
    card = folder / TRAINING
    if not card.is_file():
        raise Invalid(f"{name} has no {TRAINING}; it must be a reward model trained by attune")
    settings: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))["settings"]
    if "normaliser" not in settings:
        raise Invalid(f"{name} is not a reward model: its {TRAINING} has no normaliser")
    names = tuple(settings["names"])
    for member in names:
        base = base_of(folder / member)
        if base != roles.loaded.path:
            raise Invalid(
                f"the base of the reward model {name} is {base}, that of the policy "
                f"{roles.loaded.path}; they must be the same"
            )
        saving.load_reward(roles, folder / member, member)
    normaliser = Normalizer.from_json(settings["normaliser"])
    learned = AdapterReward(roles, names, scoring.probe(roles), normaliser, penalty=penalty)
    whole = reward_parts.of(settings, learned, roles.loaded.tokenizer, device)
    return reasoning.ignoring(whole, roles.loaded), normaliser


def fingerprint(name: str) -> str:
    """Return what a resumed run compares: the model's location, and its manifest's hash if any."""
    location = located(name)
    manifest = Path(location) / artifacts.MANIFEST
    return f"{location}@{artifacts.hash_of(manifest)[:16]}" if manifest.is_file() else location


def _whole(name: str, device: str, four_bit: bool, team: Team | None, chat: ChatOptions) -> Roles:
    try:
        roles = Roles(models.load(name, device=device, four_bit=four_bit, chat=chat), team)
    except (OSError, ValueError) as error:
        raise Invalid(f"the model {name} cannot be loaded: {_first(error)}") from error
    model_check.guard(roles, name)
    return roles


def _adapter(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Invalid(f"{folder / ADAPTER} cannot be read: {_first(error)}") from error
    return config


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
