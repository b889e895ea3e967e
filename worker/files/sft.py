"""SFT on the demonstrations in a file."""

from dataclasses import replace
from functools import partial

from app.domain.plan import STARTER
from app.errors import Invalid
from worker.files import rows
from worker.files.run_folder import RunFolder
from worker.files.training_request import RowSplit, TrainingRequest
from worker.rlhf.model.roles import SFT, Roles
from worker.training import dividing, sft
from worker.training.sft import SftInputs


def run(request: TrainingRequest, folder: RunFolder) -> None:
    """Train a model on demonstrations: a new starter, or any other model."""
    plan = request.plan.sft
    assert plan is not None  # a plan for SFT has one
    split = request.read(rows.demonstrations, folder)
    is_starter = request.model == STARTER
    roles = _roles(request, split, folder)
    if plan.is_full and roles.has_adapter(SFT):
        raise Invalid(f"{request.model} is an adapter; training all weights needs a whole model")
    split = request.fitting(split, roles, folder)
    inputs = SftInputs(
        plan=plan,
        train=split.train,
        heldout=split.heldout,
        instruction=request.instruction,
        is_starter=is_starter,
        checkpoints_gradients=request.plan.checkpoints_gradients,
        token_budget=request.plan.token_budget,
        seed=request.plan.seed,
    )
    result = sft.fit(folder, roles, inputs, save_every=request.save_every)
    if result is not None:
        metrics = result.metrics | split.counts
        card = request.card("SFT", {**result.settings, **roles.loaded.record}, metrics)
        folder.publish(card, partial(result.save, roles))


def _roles(request: TrainingRequest, split: RowSplit, folder: RunFolder) -> Roles:
    if request.model != STARTER:
        return request.roles(folder)
    if request.plan.four_bit:
        raise Invalid("a starter is trained in full; in 4 bits only adapters are trained")
    plan = request.plan.sft
    assert plan is not None
    dividing.settle(folder, folder.team, request.plan.parallel)
    loaded = sft.build_starter(
        plan.starter,
        split.train,
        request.instruction,
        seed=request.plan.seed,
        device=request.device_of(folder),
    )
    return Roles(replace(loaded, chat=request.chat), folder.team)
