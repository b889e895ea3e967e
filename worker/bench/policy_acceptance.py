"""Our PPO against TRL's on a reward that is known, with equal episodes and settings.

    python -m worker.bench.policy_acceptance [--seeds N] [--cache FOLDER | --python PATH]

Both policies are measured by the same code on the same held-out prompts: the true reward minus the
KL coefficient times the KL from the model both began with. Accepted where ours is not lower: where
the paired 95 % interval over the seeds does not lie below 0. The exit status is 1 where it does.
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

from worker.bench import environments, known_reward, peer, workload
from worker.bench.known_reward import PolicyCase
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models, saving, starter
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
"""Two-sided 95 % points of Student's t, by the number of pairs."""


@dataclass(frozen=True, slots=True)
class KnownReward:
    """The known reward of answers."""

    worth: Tensor  # V

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return what each completion's ids are worth."""
        each = [ids for branch in branches for ids in branch.completions]
        found = torch.stack(
            [self.worth[list(ids)].sum() / known_reward.ANSWER_TOKENS**0.5 for ids in each]
        )
        return Scores(found, found)


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a policy came to, on held-out prompts."""

    reward: float
    kl_nats: float
    objective: float


def main(arguments: Sequence[str]) -> int:
    """Train both sides on every seed, print what came out, and return the exit status."""
    parser = argparse.ArgumentParser(prog="policy_acceptance")
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(T_95))
    parser.add_argument("--cache", type=Path, default=environments.CACHE)
    parser.add_argument("--python", type=Path, help="of an environment with TRL 1.12")
    given = parser.parse_args(arguments)
    python = given.python or environments.python_of(environments.PPO, given.cache, peer.say)
    leads = []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            known_reward.write(PolicyCase(seed), folder)
            build(folder)
            train(folder)
            told = peer.ask(python, PEER, folder)
            ours, theirs = (
                measure(folder, each)
                for each in (known_reward.OUR_FOLDER, known_reward.PEER_FOLDER)
            )
        leads.append(ours.objective - theirs.objective)
        peer.say(f"seed {seed}: ours {_line(ours)}; TRL {told['trl']} {_line(theirs)}")
    low, high = interval(leads)
    holds = high >= 0.0
    peer.say(
        f"mean lead {fmean(leads):+.3f}, 95 % interval {low:+.3f} to {high:+.3f}: "
        f"{'accepted' if holds else 'NOT ACCEPTED'}"
    )
    return 0 if holds else 1


def interval(leads: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences, by Student's t."""
    half = T_95[len(leads)] * stdev(leads) / math.sqrt(len(leads))
    return fmean(leads) - half, fmean(leads) + half


@torch.no_grad()
def build(folder: Path) -> None:
    """Save a random model, its tokenizer, and a reward that a small model can lean to.

    Its weights are large, so that it is far from saying everything alike. Ids are worth more the
    further they are on one side of a plane through the unembedding.
    """
    made = starter.build(
        ["The model is never read, only compared."],
        vocab_size=known_reward.VOCABULARY,
        width=64,
        layers=2,
        heads=4,
        seed=workload.SEED,
    )
    config = made.model.config
    assert isinstance(config, LlamaConfig)  # the starter's family
    config.initializer_range = INITIAL_STD
    torch.manual_seed(workload.SEED)
    model = LlamaForCausalLM(config)
    side = model.lm_head.weight[:, 0]
    known_reward.write_worth(folder, (side - side.mean()) / side.std())
    model.save_pretrained(folder / known_reward.MODEL_FOLDER)
    made.tokenizer.save_pretrained(folder / known_reward.MODEL_FOLDER)


def train(folder: Path) -> None:
    """Train our policy on the case in a folder, to its last step, and leave its adapter there."""
    case = known_reward.read(folder)
    rows = known_reward.prompts(case, case.episodes * case.steps)
    items = [PromptItem(str(number), tuple(ids)) for number, ids in enumerate(rows)]
    config = config_of(case)
    roles = Roles(_loaded(folder))
    ppo.prepare(roles, config, reward=None)
    for role in ("policy", "value"):
        workload.same_start(roles.named_parameters_of(role).items())
    with torch.no_grad():
        head = roles.head("value").weight
        head.copy_(workload.head(head.shape[1]))
    for _ in ppo.train(
        roles, items, [], KnownReward(known_reward.read_worth(folder)), config, TrainingState()
    ):
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
        max_new_tokens=known_reward.ANSWER_TOKENS,
        seed=case.seed,
        autocast=False,
        watch=WatchConfig(prompts=0, rules=()),
        lora=LoraSettings(known_reward.RANK, known_reward.ALPHA),
    )


@torch.no_grad()
def measure(folder: Path, adapter: str) -> Reached:
    """Let a policy answer the held-out prompts, and say what that is worth."""
    case = known_reward.read(folder)
    roles = Roles(_loaded(folder))
    saving.load_policy(roles, folder / adapter)
    config = config_of(case)
    rows = known_reward.prompts(case, case.heldout_prompts, heldout=True)
    items = [PromptItem(str(number), tuple(ids)) for number, ids in enumerate(rows)]
    batch = rollout.collect(
        roles,
        items,
        KnownReward(known_reward.read_worth(folder)),
        config.sampling,
        config.forward,
        with_values=False,
    )
    distance = kl.k1(batch.logprobs, batch.reference)[batch.episodes.is_response].sum()
    reward, nats = float(batch.scores.raw.mean()), float(distance) / len(items)
    return Reached(reward, nats, reward - case.kl_coefficient * nats)


def _loaded(folder: Path) -> LoadedModel:
    return replace(
        models.load(folder / known_reward.MODEL_FOLDER), eos_id=-1
    )  # no id ends an answer


def _line(reached: Reached) -> str:
    return f"{reached.objective:.3f} (reward {reached.reward:.3f}, KL {reached.kl_nats:.2f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
