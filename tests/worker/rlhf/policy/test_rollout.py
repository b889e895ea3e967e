from dataclasses import replace

import torch

from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import ppo, rollout
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.policy.rollout import Rollout
from worker.rlhf.reward.scoring import Scores

CONFIG = PpoConfig(max_new_tokens=6, autocast=False, lora=tiny.LORA)


def test_the_shares_of_several_processes_are_one_rollout_with_all_its_parts() -> None:
    roles = tiny.roles("reward", heads=("reward",))
    ppo.prepare(roles, CONFIG)
    items = prompts(5)
    first, second = [3, 0], [4, 1, 2]
    shares = [(rows, _with_parts(_of(roles, items, rows))) for rows in (first, second)]
    found = rollout.join(shares)
    assert [each.key for each in found.episodes.prompts] == [each.key for each in items]
    for rows, share in shares:
        assert torch.equal(found.scores.parts["learned"][rows], share.scores.parts["learned"])
        assert torch.equal(found.scores.raw[rows], share.scores.raw)


def _of(roles: Roles, items: list[PromptItem], rows: list[int]) -> Rollout:
    part = [items[row] for row in rows]
    return rollout.collect(
        roles, part, LikesOneSide(), CONFIG.sampling, CONFIG.forward, with_values=True
    )


def _with_parts(share: Rollout) -> Rollout:
    scores = share.scores
    parts = {"learned": scores.raw * 2.0}
    return replace(share, scores=Scores(scores.raw, scores.normalized, scores.spread, parts))
