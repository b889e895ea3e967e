"""A policy from prompts in a file and a reward model: PPO, RLOO, or best of n."""

from pathlib import Path

from app.errors import Invalid
from worker.files import models, rows, training
from worker.files.folder import RunFolder
from worker.files.training import Wanted
from worker.rlhf.model import saving
from worker.runs import policy as jobs
from worker.runs.data.checkpoint_weights import POLICY
from worker.training import algorithms, training_loop
from worker.training.algorithms import NOTES, Given


def run(wanted: Wanted, folder: RunFolder) -> None:
    """Train a policy against a reward model; the best seen before any alarm is what stays."""
    parted = wanted.read(rows.prompts)
    plan = wanted.plan.policy
    roles = wanted.roles()
    reward, normaliser = models.add_reward(
        roles, wanted.reward, penalty=plan.uncertainty_penalty, device=wanted.device
    )
    new_tokens = wanted.plan.sampling.max_new_tokens
    prompts, heldout = (
        training.items(part, roles, wanted.instruction, new_tokens)
        for part in (parted.train, parted.heldout)
    )
    if not prompts:
        raise Invalid(f"no prompt leaves room for {new_tokens} new tokens in the model's context")
    if len(prompts) > plan.prompts:
        folder.watcher.say(f"{len(prompts) - plan.prompts} prompts are beyond policy.prompts.")
        prompts = prompts[: plan.prompts]
    state = training.begin(folder)
    own = jobs.config_of(wanted.plan, roles, normaliser, plan.steps(len(prompts)).total)
    given = Given(roles, prompts, heldout, reward, [], state)
    prepared = algorithms.prepare(wanted.plan, given, own)
    ended = training_loop.follow(
        folder,
        prepared.loop,
        state,
        save_every=wanted.save_every or plan.save_every,
        note=NOTES[plan.algorithm],
    )
    best_step = state.best.step if state.best is not None else ended.step
    metrics = training.figures(ended, parted) | {
        "stop_reason": jobs.reason(ended, best_step),
        "stopped_by_alarm": bool(state.values.get("stopped_by_alarm", False)),
        "best_step": best_step,
    }
    settings = {"algorithm": str(plan.algorithm), "training": prepared.settings}

    def write(aside: Path) -> None:
        saving.save_policy(roles, aside, role=POLICY)

    folder.publish(wanted.card("Policy", settings, metrics), write)
