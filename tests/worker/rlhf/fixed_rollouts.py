"""Prompts, a rule as the reward, and rollouts, for the tests of algorithms that train a policy."""

from collections.abc import Sequence
from functools import cache

import torch

from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.reward.scoring import Scores
from worker.rlhf.reward.shared_prefix import Branches


@cache
def _liked() -> frozenset[int]:
    """Ids on one side of a plane through the unembedding: a small model can lean there."""
    weight = tiny.loaded().model.lm_head.weight
    assert isinstance(weight, torch.Tensor)
    return frozenset((weight[:, 0] > 0).nonzero().flatten().tolist())


class LikesOneSide:
    """A rule that likes about half the tokens: something a policy can learn, and no model."""

    def score(self, branches: Sequence[Branches]) -> Scores:
        raw = torch.tensor(
            [
                sum(1.0 if token in _liked() else -1.0 for token in ids) / max(len(ids), 1)
                for each in branches
                for ids in each.completions
            ]
        )
        return Scores(raw, 2.0 * raw, raw.abs())


def prompts(count: int, *, start: int = 0) -> list[PromptItem]:
    return [
        PromptItem(f"p{n}", tiny.token_ids(3 + n % 4, seed=n)[0])
        for n in range(start, start + count)
    ]
