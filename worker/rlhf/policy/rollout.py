"""Episodes: prompts drawn, answers sampled, and what every role says of their tokens.

All a policy step learns from, fixed before its first update. Matrices are [B, R], padded on the
right, 0 where masked.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from worker.rlhf.core import batches, logprobs
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.examples import Completion, PromptItem
from worker.rlhf.model import models
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import kl
from worker.rlhf.reward.normaliser import Scale
from worker.rlhf.reward.scoring import RewardFunction, Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig

STEP_STRIDE = 1_000_003


@dataclass(frozen=True, slots=True)
class Forward:
    """How a role is run over tokens: with which temperature, precision and micro-batches.

    `value_trunk` names the role whose hidden states the value head reads.
    """

    temperature: float = 1.0
    autocast: bool | None = None
    token_budget: int = 2048
    value_scale: Scale = field(default_factory=Scale)
    value_trunk: Literal["value", "policy"] = "value"

    @property
    def shares_trunk(self) -> bool:
        """Whether one forward gives log-probabilities and values."""
        return self.value_trunk == "policy"


@dataclass(frozen=True, slots=True)
class Episodes:
    """Prompts with a sampled answer each, and the answers' tokens as a matrix's mask."""

    prompts: tuple[PromptItem, ...]
    completions: tuple[Completion, ...]
    is_response: Tensor  # B R

    @property
    def sequences(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The token ids of each prompt and its answer."""
        pairs = zip(self.prompts, self.completions, strict=True)
        return [(prompt.prompt_ids, completion.token_ids) for prompt, completion in pairs]

    @property
    def lengths(self) -> Tensor:
        """Tokens of each answer, [B]."""
        return self.is_response.sum(1)

    @property
    def is_finished(self) -> Tensor:
        """Whether each answer ended itself, [B]."""
        return torch.tensor([each.finish_reason == "eos" for each in self.completions])


@dataclass(frozen=True, slots=True)
class Rollout:
    """Episodes with all that was known of them before the policy moved."""

    episodes: Episodes
    scores: Scores
    logprobs: Tensor  # B R, the policy's by the training forward
    entropy: Tensor  # B R
    reference: Tensor  # B R
    values: Tensor  # B R, 0 for algorithms without a value role
    generate_s: float
    score_s: float


def draw(prompts: Sequence[PromptItem], step: int, count: int, seed: int) -> list[PromptItem]:
    """Return the prompts of a step: each once before any comes again, by seed and step alone.

    A prompt that comes twice in a step gets a key of its own, so that its answers differ.
    """
    drawn: list[PromptItem] = []
    seen: dict[str, int] = {}
    for position in range((step - 1) * count, step * count):
        around, place = divmod(position, len(prompts))
        generator = torch.Generator().manual_seed(seed * STEP_STRIDE + around)
        item = prompts[int(torch.randperm(len(prompts), generator=generator)[place])]
        again = seen.get(item.key, 0)
        seen[item.key] = again + 1
        key = f"{item.key}#{again}" if again else item.key
        drawn.append(PromptItem(key, item.prompt_ids))
    return drawn


def seeded(config: SamplingConfig, seed: int, step: int) -> SamplingConfig:
    """Return the sampling of a step, by seed and step alone."""
    return replace(config, seed=seed * STEP_STRIDE + step)


def sample(roles: Roles, prompts: Sequence[PromptItem], config: SamplingConfig) -> Episodes:
    """Return one answer of the policy to each prompt."""
    with roles.role("policy"):
        found = {each.prompt_key: each for each in sampling.generate(roles, prompts, config)}
    completions = tuple(found[prompt.key] for prompt in prompts)
    lengths = torch.tensor([len(each.token_ids) for each in completions])
    return Episodes(
        tuple(prompts), completions, torch.arange(int(lengths.max())) < lengths[:, None]
    )


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
    """Sample answers, and ask reward, policy, reference and value about them.

    Each process of a team does its share; all of them get the whole.
    """
    team = roles.team
    if team.size == 1:
        return _collect(roles, prompts, reward, sampling_config, forward, with_values)
    share = team.share([len(prompt.prompt_ids) for prompt in prompts])
    mine = [prompts[index] for index in share]
    found: list[tuple[list[int], Rollout]] = []
    if mine:
        made = _collect(roles, mine, reward, sampling_config, forward, with_values)
        found.append((share, made))
    return joined(team.gather(found))


def joined(parts: Sequence[tuple[Sequence[int], Rollout]]) -> Rollout:
    """Return one rollout of several, each with the places of its episodes in the whole."""
    count = sum(len(places) for places, _ in parts)
    each = [part for _, part in parts]
    prompts: dict[int, PromptItem] = {}
    completions: dict[int, Completion] = {}
    for places, part in parts:
        prompts |= zip(places, part.episodes.prompts, strict=True)
        completions |= zip(places, part.episodes.completions, strict=True)
    width = max(part.logprobs.shape[1] for part in each)

    def laid(found: Sequence[Tensor]) -> Tensor:
        whole = found[0].new_zeros(count, *([width] if found[0].ndim == 2 else []))
        for (places, _), part in zip(parts, found, strict=True):
            rows = torch.tensor(list(places))
            if part.ndim == 2:
                whole[rows, : part.shape[1]] = part
            else:
                whole[rows] = part
        return whole

    spreads = [part.scores.spread for part in each if part.scores.spread is not None]
    return Rollout(
        Episodes(
            tuple(prompts[place] for place in range(count)),
            tuple(completions[place] for place in range(count)),
            laid([part.episodes.is_response for part in each]),
        ),
        Scores(
            laid([part.scores.raw for part in each]),
            laid([part.scores.normalised for part in each]),
            laid(spreads) if spreads else None,
            {
                name: laid([part.scores.parts[name] for part in each])
                for name in each[0].scores.parts
            },
        ),
        laid([part.logprobs for part in each]),
        laid([part.entropy for part in each]),
        laid([part.reference for part in each]),
        laid([part.values for part in each]),
        generate_s=max(part.generate_s for part in each),
        score_s=max(part.score_s for part in each),
    )


def share(roles: Roles, episodes: Episodes, rows: Sequence[int]) -> list[int]:
    """Return those of some rows that this process of the team computes."""
    lengths = [len(prompt) + len(answer) for prompt, answer in episodes.sequences]
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
    sampled = time.perf_counter()
    scores = reward.score([Branches(ids, [answer]) for ids, answer in episodes.sequences])
    policy, entropy, reference, values = (torch.zeros(episodes.is_response.shape) for _ in range(4))
    for batch in micro_batches(roles, episodes, range(len(episodes.prompts)), forward):
        own, spread, found = policy_outputs(
            roles, batch, forward, with_values=with_values and forward.shares_trunk
        )
        base, _ = token_logprobs(roles, "reference", batch, forward)
        put(policy, episodes, batch, own)
        put(reference, episodes, batch, base)
        if spread is not None:
            put(entropy, episodes, batch, spread)
        if with_values and found is None:
            found = token_values(roles, batch, forward)
        if found is not None:
            put(values, episodes, batch, found)
    done = time.perf_counter()
    return Rollout(
        episodes,
        scores,
        policy,
        entropy,
        reference,
        values,
        generate_s=sampled - started,
        score_s=done - sampled,
    )


def micro_batches(
    roles: Roles, episodes: Episodes, rows: Sequence[int], forward: Forward
) -> Iterator[Batch]:
    """Yield some episodes in padded batches of like length; `sources` are rows of the matrices."""
    sequences = episodes.sequences
    lengths = [len(sequences[row][0]) + len(sequences[row][1]) for row in rows]
    for group in batches.by_tokens(lengths, forward.token_budget):
        chosen = [rows[index] for index in group]
        yield batches.pad([sequences[row] for row in chosen], roles.pad_id, sources=chosen).to(
            roles.device
        )


def token_logprobs(
    roles: Roles, role: str, batch: Batch, forward: Forward, *, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return the log-probability of each response token at the sampling temperature, [N]."""
    with roles.role(role), models.autocast(forward.autocast, roles.device):
        return logprobs.of_tokens(
            _before_response(roles, batch),
            roles.logits,
            batch.targets,
            forward.temperature,
            with_entropy=with_entropy,
        )


def policy_outputs(
    roles: Roles, batch: Batch, forward: Forward, *, with_values: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return log-probabilities, entropies and, off the same trunk, values if asked, [N] each."""
    if not with_values:
        return *token_logprobs(roles, "policy", batch, forward, with_entropy=True), None
    with roles.role("policy"), models.autocast(forward.autocast, roles.device):
        here = _before_response(roles, batch)
        found, entropy = logprobs.of_tokens(
            here, roles.logits, batch.targets, forward.temperature, with_entropy=True
        )
    return found, entropy, forward.value_scale(roles.score("value", here))


def token_values(roles: Roles, batch: Batch, forward: Forward) -> Tensor:
    """Return the value before each response token, [N]."""
    with roles.role(forward.value_trunk), models.autocast(forward.autocast, roles.device):
        here = _before_response(roles, batch)
    return forward.value_scale(roles.score("value", here))


def _before_response(roles: Roles, batch: Batch) -> Tensor:
    """Return the active role's hidden states that predict response tokens, [N, d]."""
    return roles.hidden(
        batch.input_ids, batch.attention_mask, batch.position_ids, batch.is_before_response
    )


def metrics(batch: Rollout, *, train_s: float) -> dict[str, float]:
    """Return the figures of a step that its rollout tells; KL and entropy over real tokens only."""
    episodes, scores = batch.episodes, batch.scores
    is_response, count = episodes.is_response, len(episodes.prompts)
    tokens = int(episodes.lengths.sum())
    seconds = batch.generate_s + batch.score_s + train_s
    found = {
        "reward/score": float(scores.raw.mean()),
        "reward/normalised": float(scores.normalised.mean()),
        "reward/normalised_std": float(scores.normalised.std(correction=0)),
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
        found["reward/disagreement"] = float(scores.spread.mean())
    found |= {f"reward/part/{name}": float(part.mean()) for name, part in scores.parts.items()}
    return found


def _sampler_deviation(batch: Rollout) -> float:
    """Return how far the sampler's log-probabilities are from the training forward's, at most."""
    sampled = [torch.tensor(each.logprobs) for each in batch.episodes.completions]
    own = batch.logprobs[batch.episodes.is_response]
    return float((torch.cat(sampled) - own).abs().max())


def put(matrix: Tensor, episodes: Episodes, batch: Batch, found: Tensor) -> None:
    """Write the batch's response tokens into their rows of a matrix."""
    rows = _rows(batch)
    part = matrix[rows]
    part[episodes.is_response[rows]] = found.to(matrix)
    matrix[rows] = part


def pick(matrix: Tensor, episodes: Episodes, batch: Batch) -> Tensor:
    """Read the batch's response tokens out of their rows of a matrix, [N]."""
    rows = _rows(batch)
    return matrix[rows][episodes.is_response[rows]].to(batch.input_ids.device)


def _rows(batch: Batch) -> list[int]:
    return [row for (row,) in batch.sources]
