"""Models by path or hub name: full models, and adapters of Attune or PEFT with their base."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.allowed_models import AllowedModels
from app.errors import Invalid
from app.settings import Settings
from worker import artifacts
from worker.rlhf.core.parallel import Team
from worker.rlhf.model import chat_options, saving
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.roles import BASE, SFT, Roles
from worker.rlhf.reward import scoring
from worker.rlhf.reward.normalizer import Normalizer
from worker.rlhf.reward.scoring import AdapterReward
from worker.training import model_check, model_folders, model_sources
from worker.training.model_folders import (
    ADAPTER,
    adapter_config,
    base_of,
    first_line,
    is_trained_here,
    located,
)


@dataclass(frozen=True, slots=True)
class AddedReward:
    """A reward model on a base, its scale, and the settings on its card."""

    learned: AdapterReward
    normaliser: Normalizer
    settings: Mapping[str, Any]


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
    in_full: bool = False,
    team: Team | None = None,
    chat: ChatOptions = chat_options.DEFAULT,
) -> Opened:
    """Load a full model, in 4 bits if requested, or an adapter with its base model.

    With `in_full` a full model is loaded to have all of its weights trained.

    Raises:
        Invalid: there is no such model, or it is a reward model.
    """
    location = located(name)
    folder = Path(location)
    if not (folder / ADAPTER).is_file():
        if (folder / "reward" / ADAPTER).is_file():
            raise Invalid(f"{name} is a reward model; it scores responses and cannot generate")
        roles = _whole(location, device, team, chat, four_bit=four_bit, in_full=in_full)
        return Opened(roles, BASE, name)
    config = adapter_config(folder)
    if config.get("task_type") in saving.REWARD_TASKS:
        raise Invalid(f"{name} is a reward model; it scores responses and cannot generate")
    roles = _whole(base_of(folder), device, team, chat, four_bit=four_bit)
    try:
        saving.load_policy(roles, folder, SFT)
    except (ValueError, OSError) as error:
        raise Invalid(f"the adapter {name} cannot be used: {first_line(error)}") from error
    return Opened(roles, SFT, name)


def add_reward(roles: Roles, name: str, *, penalty: float = 0.0) -> AddedReward:
    """Add the reward model of a run's folder to a base.

    Raises:
        Invalid: it is not a reward model trained by `attune`, or it has another base.
    """
    trained = model_folders.reward_folder(name)
    for member in trained.names:
        base = base_of(trained.folder / member)
        if base != roles.loaded.path:
            raise Invalid(
                f"the base of the reward model {name} is {base}, that of the policy "
                f"{roles.loaded.path}; they must be the same"
            )
        saving.load_reward(roles, trained.folder / member, member)
    normaliser = Normalizer.from_json(trained.settings["normaliser"])
    learned = AdapterReward(roles, trained.names, scoring.probe(roles), normaliser, penalty=penalty)
    return AddedReward(learned, normaliser, trained.settings)


def fingerprint(name: str) -> str:
    """Return what a resumed run compares: the model's location, and its manifest's hash if any."""
    location = located(name)
    manifest = Path(location) / artifacts.MANIFEST
    return f"{location}@{artifacts.hash_of(manifest)[:16]}" if manifest.is_file() else location


def _whole(
    name: str,
    device: str,
    team: Team | None,
    chat: ChatOptions,
    *,
    four_bit: bool,
    in_full: bool = False,
) -> Roles:
    try:
        if not is_trained_here(name):  # what was trained here began from an allowed model
            AllowedModels.of(Settings().base_models).check(name)
        loaded = model_sources.load(
            name,
            device=device,
            four_bit=four_bit,
            in_full=in_full,
            held="device" if team is None else team.held,
            chat=chat,
        )
        roles = Roles(loaded, team)
    except (OSError, ValueError) as error:
        raise Invalid(f"the model {name} cannot be loaded: {first_line(error)}") from error
    model_check.guard(roles, name)
    return roles
