"""Rewards of completions, as policy training uses them.

`RewardFunction` is the interface. `AdapterReward` implements it with one or several reward adapters
on the base model; classifiers and rules are other implementations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from worker.rlhf.core import batches
from worker.rlhf.model import models
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import shared_prefix
from worker.rlhf.reward.normalizer import Normalizer
from worker.rlhf.reward.shared_prefix import Branches, Probe

TOKEN_BUDGET = 2048
"""Tokens per forward pass: few enough for CPU caches, and for little padding between lengths."""
ENCODED = "the encoder computes a prompt once for all of its completions"


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of N completions, in the order of the branches."""

    raw: Tensor  # N, output of the head; the mean over an ensemble
    normalized: Tensor  # N, mean 0 and std 1 on the SFT policy; an ensemble's lower bound
    spread: Tensor | None = None  # N, std between the normalized scores of an ensemble
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # N each, normalized, of a sum
    shares: Mapping[str, Tensor] = field(default_factory=dict)  # N each, 1 where a remark applies
    amounts: Mapping[str, Tensor] = field(default_factory=dict)  # N each, what scoring took


def truncated(flags: Sequence[bool]) -> dict[str, Tensor]:
    """Return which texts were too long for a model, in the form of `Scores.shares`."""
    return {"truncated": torch.tensor(flags, dtype=torch.float32)}


class RewardFunction(Protocol):
    """Scores completions given as token ids; implementations that need text decode them."""

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return a score per completion, branch by branch."""


@dataclass(frozen=True, slots=True)
class AdapterReward:
    """The reward adapters `names` on the base model, one or an ensemble.

    `penalty` None is the penalty for which the normalizer was fitted.
    """

    roles: Roles
    names: tuple[str, ...]
    probe: Probe
    normalizer: Normalizer = field(default_factory=Normalizer)
    penalty: float | None = None
    autocast: bool | None = None
    token_budget: int = TOKEN_BUDGET

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the mean raw scores, the normalized lower bound and the spread."""
        raw = self.raw(branches)
        normalizer = self.normalizer
        if self.penalty is not None:
            normalizer = normalizer.at(self.penalty)
        bound, spread = normalizer.lower_bound(raw)
        return Scores(raw.mean(0), bound, spread if len(self.names) > 1 else None)

    @torch.no_grad()
    def raw(self, branches: Sequence[Branches]) -> Tensor:
        """Return the raw scores of each model, [M, N].

        Raises:
            ValueError: if there is no completion.
        """
        if not branches:
            raise ValueError("there is no completion to score")
        starts = offsets(branches)
        scores = torch.zeros(len(self.names), starts[-1])
        groups = micro_batches(branches, self.roles.room.of(self.token_budget))
        for group, weight in self.roles.team.in_step(groups, lambda: groups[0]):
            layout = shared_prefix.lay_out(
                [branches[index] for index in group], self.probe, pad_id=self.roles.pad_id
            )
            columns = [n for index in group for n in range(starts[index], starts[index + 1])]
            for row, name in enumerate(self.names):
                layout_scores = score_layout(self.roles, name, layout, autocast=self.autocast)
                if weight:
                    scores[row, columns] = layout_scores.cpu()
        return scores


def score(
    reward: RewardFunction, prompt_ids: Sequence[int], completions: Sequence[Sequence[int]]
) -> Scores:
    """Return the scores of the completions of one prompt."""
    return reward.score([Branches(prompt_ids, completions)])


def raw_together(reward: AdapterReward, branches: Sequence[Branches]) -> Tensor:
    """Return the raw scores, [M, N], of which each process of the team computes a share."""
    team = reward.roles.team
    costs = [branch.tokens for branch in branches]
    share = team.share(costs)
    taken = team.taken(share, costs)
    raw = reward.raw([branches[index] for index in taken]) if taken else None
    counts = [len(branches[index].completions) for index in share]
    parts = () if raw is None or not share else torch.split(raw, counts, dim=1)
    by_branch = dict(team.gather(list(zip(share, parts, strict=True))))
    return torch.cat([by_branch[index] for index in range(len(branches))], dim=1)


def score_layout(
    roles: Roles, name: str, layout: shared_prefix.Layout, *, autocast: bool | None
) -> Tensor:
    """Return the raw score of each completion in a layout, [N], with its graph."""
    return roles.score(name, states_of(roles, name, layout, autocast=autocast))


def states_of(
    roles: Roles, name: str, layout: shared_prefix.Layout, *, autocast: bool | None
) -> Tensor:
    """Return the hidden state at the end of each completion in a layout, [N, d]."""
    layout = layout.to(roles.device)
    with roles.role(name), models.autocast(autocast, roles.device):
        where, order = layout.ends
        states = roles.hidden(
            layout.input_ids,
            layout.attention_mask,
            layout.position_ids,
            where,
            encoder=layout.encoder,
            branches=layout.branches,
        )
    return states[order]


def probe(roles: Roles) -> Probe:
    """Test whether completions may share the encoding of their prompt on this base model."""
    if roles.loaded.is_encoder_decoder:
        return Probe(True, None, ENCODED, roles.loaded.decoder_prefix)

    def encode(input_ids: Tensor, *, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        device = roles.device
        return roles.hidden(
            input_ids.to(device), attention_mask.to(device), position_ids.to(device)
        )

    config = roles.causal.config.get_text_config()
    return shared_prefix.probe(encode, config, pad_id=roles.pad_id)


def micro_batches(branches: Sequence[Branches], token_budget: int) -> list[list[int]]:
    """Group branches of similar lengths within a budget of tokens."""
    return batches.by_tokens([branch.tokens for branch in branches], token_budget)


def offsets(branches: Sequence[Branches]) -> list[int]:
    """Return the index of each branch's first completion among all, and the total count."""
    starts = [0]
    for branch in branches:
        starts.append(starts[-1] + len(branch.completions))
    return starts
