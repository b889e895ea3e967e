"""A policy from the prompts in a file and any rewards: PPO, RLOO, or best-of-n."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from app.domain import length_limits, prompt_labels
from app.domain.reward_plan import RewardPlan
from worker.files import models, reward_access, rows, server_access
from worker.files.models import AddedReward
from worker.files.rows import FilePrompt
from worker.files.run_folder import RunFolder
from worker.files.training_request import TrainingRequest
from worker.rlhf.model.roles import POLICY, Roles
from worker.rlhf.reward import reasoning
from worker.training import (
    conversations,
    kl_limit,
    policy,
    policy_reward,
    reward_parts,
    reward_sources,
    token_ids,
    trained_parameters,
)
from worker.training.policy import PromptRoom
from worker.training.policy_reward import PolicyReward
from worker.training.reward_sources import RewardReading


def run(request: TrainingRequest, folder: RunFolder) -> None:
    """Train a policy against its rewards; keep the best weights seen before any alarm."""
    split = request.read(rows.prompts, folder)
    plan = request.plan.policy
    roles = request.roles(folder)
    split = request.fitting(split, roles, folder)
    asked, asked_heldout = (request.asked(part, roles) for part in (split.train, split.heldout))
    prompts, heldout = (request.prompt_items(part, roles) for part in (asked, asked_heldout))
    for remark in conversations.remarks([len(prompt.follow_up) for prompt in split.train]):
        folder.say(f"{remark}.")
    room = policy.with_room(folder, roles, request.plan, prompts, heldout)
    if len(room.prompts) > plan.prompts:
        beyond = len(room.prompts) - plan.prompts
        folder.say(f"{beyond} prompts exceed policy.prompts = {plan.prompts}; left out.")
        room = room.first(plan.prompts)
    reward = _reward(request, folder, roles, room, [*asked, *asked_heldout])
    server, name = request.plan.sampling_server, server_access.name_of(folder.root)
    result = policy.train(
        folder,
        roles,
        kl_limit.limited(folder, request.plan, reward.model),
        room,
        reward.function,
        reward.normaliser,
        save_every=request.save_every,
        lengths=length_limits.of(reward.model),
        access=None if server is None else server_access.of(name, server),
    )
    if result is not None:
        settings = {
            "algorithm": str(plan.algorithm),
            "training": result.settings,
            **trained_parameters.of(roles, [POLICY]),
            "reward": dict(reward.record),
            **roles.loaded.record,
        }
        metrics = result.metrics | split.counts
        folder.publish(request.card("Policy", settings, metrics), partial(result.save, roles))


def _reward(
    request: TrainingRequest,
    folder: RunFolder,
    roles: Roles,
    room: PromptRoom,
    prompts: Sequence[FilePrompt],
) -> PolicyReward:
    """Return the reward model with the rewards recorded with it, or those given for this run."""
    sources = reward_access.sources()
    own = request.plan.reward
    added = None
    if request.reward:
        penalty = request.plan.policy.uncertainty_penalty
        added = models.add_reward(roles, request.reward, penalty=penalty)
        if not own.parts:
            record = reward_parts.record_of(added.settings)
            recorded = reward_parts.plan_of(record)
            reading = _reading(request, folder, roles, recorded, prompts)
            whole = reward_parts.of(record, added.learned, sources, reading)
            function = reasoning.ignoring(whole, roles.loaded)
            return PolicyReward(function, added.normaliser, record, added.settings)
        _say_replaced(folder, added)
    reading = _reading(request, folder, roles, own, prompts)
    scaled = policy_reward.of_parts(
        folder,
        roles,
        request.plan,
        room.prompts,
        sources,
        reading,
        learned=None if added is None else added.learned,
    )
    if added is None:
        return scaled
    return replace(scaled, normaliser=added.normaliser, model=added.settings)


def _say_replaced(folder: RunFolder, added: AddedReward) -> None:
    recorded = reward_parts.plan_of(reward_parts.record_of(added.settings)).titles
    if recorded:
        listed = ", ".join(recorded)
        folder.say(f"The rewards of this command replace those of the reward model: {listed}.")


def _reading(
    request: TrainingRequest,
    folder: RunFolder,
    roles: Roles,
    plan: RewardPlan,
    prompts: Sequence[FilePrompt],
) -> RewardReading:
    """Return the prompts of the file as the rewards read them; tags are those of the rows."""
    turns = [prompt.messages for prompt in prompts]
    tagged = [
        prompt.messages
        for prompt in prompts
        if set(prompt_labels.of_notes(prompt.meta or {}).tags) & set(plan.safety_tags)
    ]
    reads = reward_sources.reads_messages(plan.parts)
    conversations = token_ids.conversations(
        roles.loaded, turns if reads else (), request.instruction
    )
    safety = token_ids.conversations(roles.loaded, tagged, request.instruction)
    return RewardReading(roles, request.device_of(folder), conversations, frozenset(safety))
