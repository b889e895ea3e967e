"""Rollouts: sampled responses with their rewards, log-probabilities and values.

A rollout is all that a policy step learns from, computed before its first update. Matrices are
[B, R], padded on the right and 0 where masked.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from worker.rlhf.core import batches, epoch_order, logprobs
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.model import model_inputs, models
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import kl
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import RewardFunction, Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig


@dataclass(frozen=True, slots=True)
class Forward:
    """How roles are evaluated on tokens: temperature, precision and micro-batch size.

    `value_trunk` names the role whose hidden states feed the value head.
    """

    temperature: float = 1.0
    autocast: bool | None = None
    token_budget: int = 2048
    value_scale: Scale = field(default_factory=Scale)
    value_trunk: Literal["value", "policy"] = "value"

    @property
    def shares_trunk(self) -> bool:
        """Whether one forward pass gives both log-probabilities and values."""
        return self.value_trunk == "policy"


@dataclass(frozen=True, slots=True)
class Episodes:
    """Prompts with one sampled response each, and the mask of the response tokens."""

    prompts: tuple[PromptItem, ...]
    completions: tuple[SampledCompletion, ...]
    is_response: Tensor  # B R

    @property
    def sequences(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The token ids of each prompt and its response."""
        pairs = zip(self.prompts, self.completions, strict=True)
        return [(prompt.prompt_ids, completion.token_ids) for prompt, completion in pairs]

    @property
    def lengths(self) -> Tensor:
        """Number of tokens in each response, [B]."""
        return self.is_response.sum(1)

    @property
    def is_finished(self) -> Tensor:
        """Whether each response ended with an EOS token, [B]."""
        return torch.tensor([c.finish_reason == "eos" for c in self.completions])


@dataclass(frozen=True, slots=True)
class Rollout:
    """Episodes with their rewards, log-probabilities and values before the policy is updated."""

    episodes: Episodes
    scores: Scores
    logprobs: Tensor  # B R, the policy's, from the training forward
    entropy: Tensor  # B R
    reference: Tensor  # B R, the reference's log-probabilities
    values: Tensor  # B R, 0 for algorithms without a value role
    generate_s: float
    score_s: float


def draw(prompts: Sequence[PromptItem], step: int, count: int, seed: int) -> list[PromptItem]:
    """Return the prompts of a step counted from 1, each once per epoch in a seeded order.

    A prompt that is drawn more than once in a step gets distinct keys, so that its responses
    differ.
    """
    drawn: list[PromptItem] = []
    repeats: dict[str, int] = {}
    start, stop = (step - 1) * count, step * count
    for index in epoch_order.across_epochs(len(prompts), seed, start, stop):
        item = prompts[index]
        repeat = repeats.get(item.key, 0)
        repeats[item.key] = repeat + 1
        key = f"{item.key}#{repeat}" if repeat else item.key
        drawn.append(PromptItem(key, item.prompt_ids))
    return drawn


def seeded(config: SamplingConfig, seed: int, step: int) -> SamplingConfig:
    """Return the sampling settings of a step, which depend on seed and step alone."""
    return replace(config, seed=epoch_order.seed_of(seed, step))


def episodes_of(
    prompts: Sequence[PromptItem], completions: Sequence[SampledCompletion]
) -> Episodes:
    """Return prompts with their responses, in the same order."""
    lengths = torch.tensor([len(completion.token_ids) for completion in completions])
    return Episodes(
        tuple(prompts), tuple(completions), torch.arange(int(lengths.max())) < lengths[:, None]
    )


def sample(
    roles: Roles, prompts: Sequence[PromptItem], config: SamplingConfig, role: str = "policy"
) -> Episodes:
    """Return one response of the policy, or of another role, to each prompt."""

    def drawn() -> dict[str, SampledCompletion]:
        own = replace(config, batch_size=roles.room.of(config.batch_size))
        return {c.prompt_key: c for c in sampling.generate(roles, prompts, own)}

    longest = max(len(prompt.prompt_ids) for prompt in prompts) + config.max_new_tokens
    with roles.role(role):
        by_key = roles.room.taking(drawn, tokens=config.batch_size * longest)
    return episodes_of(prompts, [by_key[prompt.key] for prompt in prompts])


@torch.no_grad()
def collect(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    sampling_config: SamplingConfig,
    forward: Forward,
    *,
    with_values: bool,
) -> Rollout:
    """Sample responses, and score them with reward, policy, reference and value.

    Each process of the team computes its share; all of them get the whole rollout.
    """
    team = roles.team
    if team.size == 1:
        return _collect(roles, prompts, reward, sampling_config, forward, with_values)
    costs = [len(prompt.prompt_ids) for prompt in prompts]
    share = team.share(costs)
    parts: list[tuple[list[int], Rollout]] = []
    taken = team.taken(share, costs)
    if taken:
        own_prompts = [prompts[index] for index in taken]
        own_part = _collect(roles, own_prompts, reward, sampling_config, forward, with_values)
        parts += [(share, own_part)] if share else []
    return join(team.gather(parts))


def join(parts: Sequence[tuple[Sequence[int], Rollout]]) -> Rollout:
    """Join rollouts into one, given the rows of each one's episodes in the whole."""
    count = sum(len(rows) for rows, _ in parts)
    rollouts = [part for _, part in parts]
    prompts: dict[int, PromptItem] = {}
    completions: dict[int, SampledCompletion] = {}
    for rows, part in parts:
        prompts |= zip(rows, part.episodes.prompts, strict=True)
        completions |= zip(rows, part.episodes.completions, strict=True)
    width = max(part.logprobs.shape[1] for part in rollouts)

    def scatter(tensors: Sequence[Tensor]) -> Tensor:
        whole = tensors[0].new_zeros(count, *([width] if tensors[0].ndim == 2 else []))
        for (rows, _), tensor in zip(parts, tensors, strict=True):
            index = torch.tensor(list(rows))
            if tensor.ndim == 2:
                whole[index, : tensor.shape[1]] = tensor
            else:
                whole[index] = tensor
        return whole

    spreads = [part.scores.spread for part in rollouts if part.scores.spread is not None]
    return Rollout(
        Episodes(
            tuple(prompts[row] for row in range(count)),
            tuple(completions[row] for row in range(count)),
            scatter([part.episodes.is_response for part in rollouts]),
        ),
        Scores(
            scatter([part.scores.raw for part in rollouts]),
            scatter([part.scores.normalized for part in rollouts]),
            scatter(spreads) if spreads else None,
            {
                name: scatter([part.scores.parts[name] for part in rollouts])
                for name in rollouts[0].scores.parts
            },
            {
                name: scatter([part.scores.shares[name] for part in rollouts])
                for name in rollouts[0].scores.shares
            },
            {
                name: scatter([part.scores.amounts[name] for part in rollouts])
                for name in rollouts[0].scores.amounts
            },
        ),
        scatter([part.logprobs for part in rollouts]),
        scatter([part.entropy for part in rollouts]),
        scatter([part.reference for part in rollouts]),
        scatter([part.values for part in rollouts]),
        generate_s=max(part.generate_s for part in rollouts),
        score_s=max(part.score_s for part in rollouts),
    )


def own_share(roles: Roles, episodes: Episodes, rows: Sequence[int]) -> list[int]:
    """Return the rows, of those given, that this process of the team computes."""
    lengths = [len(prompt) + len(response) for prompt, response in episodes.sequences]
    return [rows[index] for index in roles.team.share([lengths[row] for row in rows])]


def _collect(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    sampling_config: SamplingConfig,
    forward: Forward,
    with_values: bool,
) -> Rollout:
    started = time.perf_counter()
    episodes = sample(roles, prompts, sampling_config)
    generate_s = time.perf_counter() - started
    return scored(roles, episodes, reward, forward, with_values, generate_s)


def scored(
    roles: Roles,
    episodes: Episodes,
    reward: RewardFunction,
    forward: Forward,
    with_values: bool,
    generate_s: float,
) -> Rollout:
    """Return the rollout of sampled episodes: rewards, log-probabilities and values."""
    started = time.perf_counter()
    budget, take = forward.token_budget, roles.room.taking
    branches = [Branches(prompt, [response]) for prompt, response in episodes.sequences]
    scores = take(lambda: reward.score(branches), tokens=budget)
    matrices = take(lambda: _matrices(roles, episodes, forward, with_values), tokens=budget)
    score_s = time.perf_counter() - started
    return Rollout(episodes, scores, *matrices, generate_s=generate_s, score_s=score_s)


def _matrices(
    roles: Roles, episodes: Episodes, forward: Forward, with_values: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the policy's log-probabilities and entropies, the reference's, and values, [B, R].

    Role by role, so that each is activated once.
    """
    own = micro_batches(roles, episodes, range(len(episodes.prompts)), forward)
    groups = [group for group, _ in roles.team.in_step(own, lambda: own[0])]

    def matrix(parts: Sequence[Tensor | None]) -> Tensor:
        found = [part for part in parts[: len(own)] if part is not None]
        whole = torch.zeros(episodes.is_response.shape)
        if found:
            host = torch.cat(found).cpu()  # waits for the device once
            for group, part in zip(
                own, torch.split(host, [g.response_tokens for g in own]), strict=True
            ):
                put(whole, episodes, group, part)
        return whole

    is_shared = with_values and forward.shares_trunk
    with roles.role("policy"):
        outputs = [policy_outputs(roles, group, forward, with_values=is_shared) for group in groups]
    with roles.role("reference"):
        reference = [token_logprobs(roles, "reference", group, forward)[0] for group in groups]
    values = [batch_values for _, _, batch_values in outputs]
    if with_values and not is_shared:
        with roles.role(forward.value_trunk):
            values = [token_values(roles, group, forward) for group in groups]
    logprobs_parts, entropies, _ = zip(*outputs, strict=True)
    return matrix(logprobs_parts), matrix(entropies), matrix(reference), matrix(values)


def micro_batches(
    roles: Roles, episodes: Episodes, rows: Sequence[int], forward: Forward
) -> list[Batch]:
    """Return rows in padded batches of similar lengths; `sources` are rows of the matrices."""
    sequences = episodes.sequences
    lengths = [len(sequences[row][0]) + len(sequences[row][1]) for row in rows]
    groups = [
        [rows[index] for index in group]
        for group in batches.by_tokens(lengths, roles.room.of(forward.token_budget))
    ]
    return [
        model_inputs.padded(roles, [sequences[row] for row in group], sources=group).to(
            roles.device
        )
        for group in groups
    ]


def token_logprobs(
    roles: Roles, role: str, batch: Batch, forward: Forward, *, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return the log-probability of each response token at the sampling temperature, [N]."""
    with roles.role(role), models.autocast(forward.autocast, roles.device):
        return logprobs.of_tokens(
            model_inputs.before_response(roles, batch),
            roles.lm_head(),
            batch.targets,
            forward.temperature,
            with_entropy=with_entropy,
        )


def policy_outputs(
    roles: Roles, batch: Batch, forward: Forward, *, with_values: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return log-probabilities, entropies and, if requested, values of the same trunk, [N] each."""
    if not with_values:
        return *token_logprobs(roles, "policy", batch, forward, with_entropy=True), None
    with roles.role("policy"), models.autocast(forward.autocast, roles.device):
        hidden = model_inputs.before_response(roles, batch)
        policy_logprobs, entropy = logprobs.of_tokens(
            hidden, roles.lm_head(), batch.targets, forward.temperature, with_entropy=True
        )
    return policy_logprobs, entropy, forward.value_scale(roles.score("value", hidden))


def token_values(roles: Roles, batch: Batch, forward: Forward) -> Tensor:
    """Return the value before each response token, [N]."""
    with roles.role(forward.value_trunk), models.autocast(forward.autocast, roles.device):
        hidden = model_inputs.before_response(roles, batch)
    return forward.value_scale(roles.score("value", hidden))


def metrics_of(batch: Rollout, *, train_s: float) -> dict[str, float]:
    """Return the metrics of a rollout; KL and entropy are over real tokens only."""
    episodes, scores = batch.episodes, batch.scores
    is_response, count = episodes.is_response, len(episodes.prompts)
    tokens = int(episodes.lengths.sum())
    seconds = batch.generate_s + batch.score_s + train_s
    metrics = {
        "reward/score": float(scores.raw.mean()),
        "reward/normalised": float(scores.normalized.mean()),
        "reward/normalised_std": float(scores.normalized.std(correction=0)),
        "kl/k1": float(kl.k1(batch.logprobs, batch.reference)[is_response].sum()) / count,
        "kl/k3": float(kl.k3(batch.logprobs, batch.reference)[is_response].sum()) / count,
        "policy/sampler_deviation": _sampler_deviation(batch),
        "entropy": float(batch.entropy[is_response].mean()),
        "length/mean": tokens / count,
        "length/eos_share": float(episodes.is_finished.float().mean()),
        "speed/tokens_per_s": tokens / seconds,
        "time/generate_s": batch.generate_s,
        "time/score_s": batch.score_s,
        "time/train_s": train_s,
    }
    if scores.spread is not None:
        metrics["reward/disagreement"] = float(scores.spread.mean())
    return metrics | part_metrics(scores)


def part_metrics(scores: Scores, prefix: str = "reward") -> dict[str, float]:
    """Return the means of a reward's parts, shares with a remark, and amounts per response."""
    means = {f"{prefix}/part/{name}": float(part.mean()) for name, part in scores.parts.items()}
    means |= {f"{prefix}/amount/{name}": float(n.mean()) for name, n in scores.amounts.items()}
    return means | {
        f"{prefix}/share/{name}": float(flags.mean()) for name, flags in scores.shares.items()
    }


def _sampler_deviation(batch: Rollout) -> float:
    """Return the largest difference between log-probabilities in sampling and in training."""
    sampled = torch.cat([torch.tensor(c.logprobs) for c in batch.episodes.completions])
    recomputed = batch.logprobs[batch.episodes.is_response]
    return float((sampled - recomputed).abs().max())


def put(matrix: Tensor, episodes: Episodes, batch: Batch, token_values: Tensor) -> None:
    """Write values of the batch's response tokens, [N], into their rows of a matrix."""
    rows = _rows(batch)
    part = matrix[rows]
    part[episodes.is_response[rows]] = token_values.to(matrix)
    matrix[rows] = part


def pick(matrix: Tensor, episodes: Episodes, batch: Batch) -> Tensor:
    """Read the values of the batch's response tokens from their rows of a matrix, [N]."""
    rows = _rows(batch)
    # Without waiting for the device: what it is still computing does not depend on this.
    return matrix[rows][episodes.is_response[rows]].to(batch.input_ids.device, non_blocking=True)


def _rows(batch: Batch) -> list[int]:
    return [row for (row,) in batch.sources]
