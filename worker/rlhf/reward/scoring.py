"""Rewards of answers: what policy training asks, whoever gives them.

`RewardFunction` is the interface; `AdapterReward` answers with the reward adapters on the base, one
or an ensemble. An external classifier or a rule is another implementation.
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
from worker.rlhf.reward.normaliser import Normaliser
from worker.rlhf.reward.shared_prefix import Branches, Probe

TOKEN_BUDGET = 2048
"""Tokens of a forward: on a CPU few enough for the caches, and little padding between lengths."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of N answers, in the order asked."""

    raw: Tensor  # N, as the head gives them; the mean over an ensemble
    normalised: Tensor  # N, mean 0 and std 1 on the SFT policy; an ensemble's lower bound
    spread: Tensor | None = None  # N, std between the normalised models of an ensemble
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # N each, of a sum, normalised


class RewardFunction(Protocol):
    """Scores answers given as token ids. Implementations that read text decode them."""

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return a score per completion, branch by branch."""


@dataclass(frozen=True, slots=True)
class AdapterReward:
    """The reward adapters `names` on the roles' base, one or an ensemble.

    `penalty` None is the one that the normaliser was fitted at.
    """

    roles: Roles
    names: tuple[str, ...]
    probe: Probe
    normaliser: Normaliser = field(default_factory=Normaliser)
    penalty: float | None = None
    autocast: bool | None = None
    token_budget: int = TOKEN_BUDGET

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the mean raw scores, the normalised lower bound and the spread."""
        raw = self.raw(branches)
        normaliser = self.normaliser
        if self.penalty is not None:
            normaliser = normaliser.at(self.penalty)
        bound, spread = normaliser.lower_bound(raw)
        return Scores(raw.mean(0), bound, spread if len(self.names) > 1 else None)

    @torch.no_grad()
    def raw(self, branches: Sequence[Branches]) -> Tensor:
        """Return the raw scores of each model, [M, N].

        Raises:
            ValueError: if nothing was asked.

        """
        if not branches:
            raise ValueError("there is no answer to score")
        firsts = _firsts(branches)
        scores = torch.zeros(len(self.names), firsts[-1])
        for group in micro_batches(branches, self.token_budget):
            layout = shared_prefix.lay_out(
                [branches[index] for index in group], self.probe, pad_id=self.roles.pad_id
            )
            places = [n for index in group for n in range(firsts[index], firsts[index + 1])]
            for row, name in enumerate(self.names):
                found = score_layout(self.roles, name, layout, autocast=self.autocast)
                scores[row, places] = found.cpu()
        return scores


def score(
    reward: RewardFunction, prompt_ids: Sequence[int], completions: Sequence[Sequence[int]]
) -> Scores:
    """Return the scores of the completions of one prompt."""
    return reward.score([Branches(prompt_ids, completions)])


def raw_together(reward: AdapterReward, branches: Sequence[Branches]) -> Tensor:
    """Return the raw scores, [M, N], for which each process of the team does its share."""
    team = reward.roles.team
    share = team.share([each.tokens for each in branches])
    raw = reward.raw([branches[index] for index in share]) if share else None
    counts = [len(branches[index].completions) for index in share]
    parts = () if raw is None else torch.split(raw, counts, dim=1)
    found = dict(team.gather(list(zip(share, parts, strict=True))))
    return torch.cat([found[index] for index in range(len(branches))], dim=1)


def score_layout(
    roles: Roles, name: str, layout: shared_prefix.Layout, *, autocast: bool | None
) -> Tensor:
    """Return the raw score of each completion of a layout, [N], with its graph."""
    return roles.score(name, states_of(roles, name, layout, autocast=autocast))


def states_of(
    roles: Roles, name: str, layout: shared_prefix.Layout, *, autocast: bool | None
) -> Tensor:
    """Return the hidden state at the end of each completion of a layout, [N, d]."""
    layout = layout.to(roles.device)
    with roles.role(name), models.autocast(autocast, roles.device):
        where, order = layout.ends
        found = roles.hidden(layout.input_ids, layout.attention_mask, layout.position_ids, where)
    return found[order]


def probe(roles: Roles) -> Probe:
    """Find out whether completions may share their prompt's encoding on this base."""

    def encode(input_ids: Tensor, *, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        device = roles.device
        return roles.hidden(
            input_ids.to(device), attention_mask.to(device), position_ids.to(device)
        )

    config = roles.causal.config.get_text_config()
    return shared_prefix.probe(encode, config, pad_id=roles.pad_id)


def micro_batches(branches: Sequence[Branches], token_budget: int) -> list[list[int]]:
    """Group branches of like length into rows within a budget of tokens."""
    return batches.by_tokens([each.tokens for each in branches], token_budget)


def _firsts(branches: Sequence[Branches]) -> list[int]:
    """Return where each branch's completions begin among all, and the total."""
    firsts = [0]
    for each in branches:
        firsts.append(firsts[-1] + len(each.completions))
    return firsts
