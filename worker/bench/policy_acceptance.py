"""Acceptance of PPO: compare it with TRL's on a known reward, with equal episodes and settings.

    python -m worker.bench.policy_acceptance [--seeds N] [--cache FOLDER | --python PATH]

Both policies are measured by the same code on the same held-out prompts: the true reward minus the
KL coefficient times the KL from the initial model. Ours is accepted if it is not worse: if the
paired 95 % interval over the seeds is not entirely below 0. The exit status is 1 otherwise.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from worker.bench import (
    acceptance_model,
    case_files,
    environments,
    known_reward,
    ours,
    peer,
    workload,
)
from worker.bench.known_reward import PolicyCase
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models, saving
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.policy import kl, ppo, rollout
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.reward.scoring import Scores
from worker.rlhf.reward.shared_prefix import Branches

PEER = "worker.bench.peers.trl_known_ppo"
INITIAL_STD = 0.2
NO_CLIP = 1e9  # TRL's PPO does not clip gradients
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95 % quantiles of Student's t, by the number of pairs."""


@dataclass(frozen=True, slots=True)
class KnownReward:
    """The known reward of responses."""

    worth: Tensor  # V

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the reward of each completion, branch by branch."""
        completions = [ids for branch in branches for ids in branch.completions]
        sums = torch.stack([self.worth[list(ids)].sum() for ids in completions])
        scores = sums / known_reward.RESPONSE_TOKENS**0.5
        return Scores(scores, scores)


@dataclass(frozen=True, slots=True)
class TrainedPolicy:
    """A policy's means over held-out prompts."""

    reward: float
    kl_nats: float
    objective: float


def main(arguments: Sequence[str]) -> int:
    """Train both sides on every seed, print the results, and return the exit status."""
    parser = argparse.ArgumentParser(prog="policy_acceptance")
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(T_95))
    parser.add_argument("--cache", type=Path, default=environments.CACHE)
    parser.add_argument("--python", type=Path, help="interpreter of an environment with TRL 1.12")
    parsed = parser.parse_args(arguments)
    python = parsed.python or environments.python_of(
        environments.PPO, parsed.cache, peer.print_line
    )
    leads = []
    for seed in range(parsed.seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            case_files.write(PolicyCase(seed), folder)
            build(folder)
            train(folder)
            peer_output = peer.run(python, PEER, folder)
            our_result = measure(folder, known_reward.OUR_FOLDER)
            peer_result = measure(folder, known_reward.PEER_FOLDER)
        leads.append(our_result.objective - peer_result.objective)
        peer.print_line(
            f"seed {seed}: ours {_summary(our_result)}; "
            f"TRL {peer_output['trl']} {_summary(peer_result)}"
        )
    low, high = interval(leads)
    is_accepted = high >= 0.0
    peer.print_line(
        f"mean lead {fmean(leads):+.3f}, 95 % interval {low:+.3f} to {high:+.3f}: "
        f"{'accepted' if is_accepted else 'NOT ACCEPTED'}"
    )
    return 0 if is_accepted else 1


def interval(leads: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences, by Student's t."""
    half = T_95[len(leads)] * stdev(leads) / math.sqrt(len(leads))
    return fmean(leads) - half, fmean(leads) + half


@torch.no_grad()
def build(folder: Path) -> None:
    """Save a random model, its tokenizer, and a reward that a small model can learn.

    Its weights are large, so that its distribution is far from uniform. The worth of an id is its
    distance from a plane in the space of the unembedding, standardized.
    """
    base = acceptance_model.build(known_reward.VOCABULARY)
    config = base.model.config
    assert isinstance(config, LlamaConfig)  # the starter's family
    config.initializer_range = INITIAL_STD
    torch.manual_seed(workload.SEED)
    model = LlamaForCausalLM(config)
    distance = model.lm_head.weight[:, 0]
    known_reward.write_worth(folder, (distance - distance.mean()) / distance.std())
    model.save_pretrained(folder / case_files.MODEL_FOLDER)
    base.tokenizer.save_pretrained(folder / case_files.MODEL_FOLDER)


def train(folder: Path) -> None:
    """Train our policy on the case in a folder to its last step, and save its adapter there."""
    case = case_files.read(folder, PolicyCase)
    prompts = known_reward.prompts(case, case.episodes * case.steps)
    config = config_of(case)
    roles = Roles(_loaded(folder))
    ppo.prepare(roles, config, reward=None)
    for role in ("policy", "value"):
        ours.same_start(roles, role)
    reward = KnownReward(known_reward.read_worth(folder))
    for _ in ppo.train(roles, _items(prompts), [], reward, config, TrainingState()):
        pass
    saving.save_policy(roles, folder / known_reward.OUR_FOLDER)


def config_of(case: PolicyCase) -> PpoConfig:
    """Return our settings for a case."""
    return PpoConfig(
        steps=case.steps,
        episodes=case.episodes,
        epochs=case.epochs,
        policy_learning_rate=case.learning_rate,
        value_learning_rate=case.learning_rate,
        kl_coefficient=case.kl_coefficient,
        missing_eos_penalty=0.0,
        grad_clip=NO_CLIP,
        max_new_tokens=known_reward.RESPONSE_TOKENS,
        seed=case.seed,
        autocast=False,
        watch=WatchConfig(prompts=0, rules=()),
        lora=LoraSettings(known_reward.RANK, known_reward.ALPHA),
    )


@torch.no_grad()
def measure(folder: Path, adapter: str) -> TrainedPolicy:
    """Sample a policy's responses to the held-out prompts and return their means."""
    case = case_files.read(folder, PolicyCase)
    roles = Roles(_loaded(folder))
    saving.load_policy(roles, folder / adapter)
    config = config_of(case)
    prompts = known_reward.prompts(case, case.heldout_prompts, heldout=True)
    batch = rollout.collect(
        roles,
        _items(prompts),
        KnownReward(known_reward.read_worth(folder)),
        config.sampling,
        config.forward,
        with_values=False,
    )
    kl_sum = kl.k1(batch.logprobs, batch.reference)[batch.episodes.is_response].sum()
    reward, kl_nats = float(batch.scores.raw.mean()), float(kl_sum) / len(prompts)
    return TrainedPolicy(reward, kl_nats, reward - case.kl_coefficient * kl_nats)


def _items(prompts: Sequence[Sequence[int]]) -> list[PromptItem]:
    return [PromptItem(str(number), tuple(ids)) for number, ids in enumerate(prompts)]


def _loaded(folder: Path) -> LoadedModel:
    loaded = models.load(folder / case_files.MODEL_FOLDER)
    return replace(loaded, ends=())  # no token ends a response


def _summary(result: TrainedPolicy) -> str:
    return f"{result.objective:.3f} (reward {result.reward:.3f}, KL {result.kl_nats:.2f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
