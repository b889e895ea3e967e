"""A policy from the prompts in a file and a reward model: PPO, RLOO, or best-of-n."""

from functools import partial

from worker.files import models, rows
from worker.files.run_folder import RunFolder
from worker.files.training_request import TrainingRequest
from worker.training import policy


def run(request: TrainingRequest, folder: RunFolder) -> None:
    """Train a policy against a reward model; keep the best weights seen before any alarm."""
    split = request.read(rows.prompts, folder)
    plan = request.plan.policy
    roles = request.roles(folder)
    split = request.fitting(split, roles, folder)
    reward, normaliser = models.add_reward(
        roles,
        request.reward,
        penalty=plan.uncertainty_penalty,
        device=request.device_of(folder),
    )
    prompts, heldout = (request.prompt_items(part, roles) for part in (split.train, split.heldout))
    room = policy.with_room(folder, roles, request.plan, prompts, heldout)
    if len(room.prompts) > plan.prompts:
        beyond = len(room.prompts) - plan.prompts
        folder.say(f"{beyond} prompts exceed policy.prompts = {plan.prompts}; left out.")
        room = room.first(plan.prompts)
    result = policy.train(
        folder, roles, request.plan, room, reward, normaliser, save_every=request.save_every
    )
    if result is not None:
        settings = {"algorithm": str(plan.algorithm), "training": result.settings}
        settings |= roles.loaded.record
        metrics = result.metrics | split.counts
        folder.publish(request.card("Policy", settings, metrics), partial(result.save, roles))
