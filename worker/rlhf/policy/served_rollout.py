"""Rollouts whose responses come from somewhere else than the model in memory, such as a server.

The old log-probabilities are those of the training forward all the same, so that ratios begin at 1.
How far the sampler's own are from them is measured: they differ by rounding, and by the steps that
the policy has taken since the sampler got it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import rollout
from worker.rlhf.policy.rollout import Forward, Rollout
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.served_policy import ServedPolicy, Source


@dataclass(frozen=True, slots=True)
class Distance:
    """How far the sampler's log-probabilities are from those of the training forward.

    `mean` is the mean absolute difference per token in nats, and `importance` how far the tokens'
    importance weights, new over sampled probability, are from 1 on average.
    """

    mean: float
    importance: float


def collect(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    sampling_config: SamplingConfig,
    forward: Forward,
    *,
    with_values: bool,
    source: Source | None = None,
) -> Rollout:
    """Return a rollout with the responses of a source; without one, of the model in memory.

    The first process asks for all responses; each computes its share of the rest.
    """
    if source is None:
        return rollout.collect(
            roles, prompts, reward, sampling_config, forward, with_values=with_values
        )
    started = time.perf_counter()
    drawn: Sequence[SampledCompletion] | None = None
    while drawn is None:  # one short collective call after the other, while a server is away
        drawn = roles.team.once(lambda: source(prompts, sampling_config))
    generate_s = time.perf_counter() - started
    whole = rollout.episodes_of(prompts, drawn)
    share = rollout.own_share(roles, whole, range(len(prompts)))
    parts: list[tuple[list[int], Rollout]] = []
    if share:
        own = rollout.episodes_of([prompts[n] for n in share], [drawn[n] for n in share])
        with torch.no_grad():
            part = rollout.scored(roles, own, reward, forward, with_values, generate_s)
        parts.append((share, part))
    return rollout.join(roles.team.gather(parts))


def metrics_of(batch: Rollout, served: ServedPolicy | None, step: int) -> dict[str, float]:
    """Return what is logged of a batch that a server sampled; nothing if it did not."""
    if served is None:
        return {}
    distance = distance_of(batch)
    served.hear(step, distance.mean)
    return {
        "sampler/deviation": distance.mean,
        "sampler/importance": distance.importance,
        **served.metrics(step),
    }


def distance_of(batch: Rollout) -> Distance:
    """Return how far the sampler was from the policy that learns from its responses."""
    sampled = torch.cat([torch.tensor(c.logprobs) for c in batch.episodes.completions])
    difference = batch.logprobs[batch.episodes.is_response] - sampled
    weights = difference.exp()
    return Distance(float(difference.abs().mean()), float((weights - 1.0).abs().mean()))
