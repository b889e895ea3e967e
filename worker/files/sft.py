"""Imitation of the demonstrations in a file."""

from functools import partial
from pathlib import Path

from app.domain.plan import STARTER
from app.errors import Invalid
from worker.files import rows, training
from worker.files.folder import RunFolder
from worker.files.rows import Shown
from worker.files.training import Parted, Wanted
from worker.rlhf.model import saving
from worker.rlhf.model.roles import BASE, SFT, Roles
from worker.rlhf.sft import finetuning as imitation
from worker.runs import sft as jobs
from worker.runs.data import checkpoint_weights
from worker.training import training_loop


def run(wanted: Wanted, folder: RunFolder) -> None:
    """Train a model on demonstrations, a starter or somebody's."""
    plan = wanted.plan.sft
    assert plan is not None  # a plan for SFT has one
    parted = wanted.read(rows.demonstrations)
    is_starter = wanted.model == STARTER
    roles = _roles(wanted, parted)
    config = jobs.config_of(plan, is_starter=is_starter, seed=wanted.plan.seed)
    if config.full and roles.has_adapter(SFT):
        raise Invalid(f"{wanted.model} is an adapter; training all weights needs a whole model")
    encode = partial(
        jobs.encoded, roles, instruction=wanted.instruction, max_tokens=plan.max_tokens
    )
    train, too_long = encode(_shown(parted.train))
    heldout, _ = encode(_shown(parted.heldout))
    if not train:
        raise Invalid(f"all {too_long} demonstrations are longer than {plan.max_tokens} tokens")
    if too_long:
        folder.watcher.say(f"{too_long} demonstrations are too long and left out.")
    state = training.begin(folder)
    loop = imitation.train(roles, train, config, state)
    ended = training_loop.follow(
        folder, loop, state, save_every=wanted.save_every, note="imitating demonstrations"
    )
    metrics = training.figures(ended, parted) | {"too_long": too_long}
    if heldout:
        role = BASE if config.full else config.adapter
        metrics["heldout/loss"] = imitation.evaluate(roles, role, heldout, config)
    layout = checkpoint_weights.FULL if config.full else checkpoint_weights.ADAPTER
    settings = {"layout": layout, "training": config.to_json()}

    def write(aside: Path) -> None:
        if config.full:
            saving.save_full(roles.loaded, aside)
        else:
            saving.save_policy(roles, aside, role=config.adapter)

    folder.publish(wanted.card("SFT", settings, metrics), write)


def _roles(wanted: Wanted, parted: Parted) -> Roles:
    if wanted.model != STARTER:
        return wanted.roles()
    if wanted.plan.four_bit:
        raise Invalid("a starter is trained in full; in 4 bits only adapters are trained")
    plan = wanted.plan.sft
    assert plan is not None
    said = _shown(parted.train)
    made = jobs.built(plan.starter, said, wanted.instruction, seed=wanted.plan.seed)
    made.model.to(wanted.device)  # type: ignore[arg-type]
    return Roles(made)


def _shown(found: list[Shown]) -> list[jobs.Shown]:
    return [jobs.Shown(one.messages, one.text) for one in found]
