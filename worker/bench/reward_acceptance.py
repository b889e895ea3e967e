"""Our reward model against TRL's on the same comparisons, from the same weights, in the same order.

    python -m worker.bench.reward_acceptance [--seeds N] [--cache FOLDER | --python PATH]

Pairs, fp32, no dropout, one epoch, LoRA on all linear layers. Accepted where the first losses agree
within `LOSS_TOLERANCE` and our accuracy against the truth is at most `BEHIND` below TRL's, by the
mean over the seeds. The exit status is 1 where it is not.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from worker.bench import environments, known_preferences, peer, workload
from worker.bench.known_preferences import PreferenceCase
from worker.bench.ours import InOrderRun
from worker.rlhf.core.examples import PreferencePair, RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models, starter
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.reward import reward_model, scoring
from worker.rlhf.reward.ranking_loss import Terms
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches

PEER = "worker.bench.peers.trl_known_reward"
LOSS_TOLERANCE, LOSSES, BEHIND = 1e-4, 20, 0.02


def main(arguments: Sequence[str]) -> int:
    """Train both sides on every seed, print what came out, and return the exit status."""
    parser = argparse.ArgumentParser(prog="reward_acceptance")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=environments.CACHE)
    parser.add_argument("--python", type=Path, help="of an environment with TRL 1.16")
    given = parser.parse_args(arguments)
    python = given.python or environments.python_of(environments.REWARD, given.cache, peer.say)
    apart, accuracies = [], []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            known_preferences.write(PreferenceCase(seed), folder)
            build(folder / known_preferences.MODEL_FOLDER)
            ours, theirs = train(folder), peer.ask(python, PEER, folder)
        pairs = list(zip(ours["losses"], theirs["losses"], strict=True))[:LOSSES]
        apart.append(max(abs(a - b) for a, b in pairs))
        accuracies.append((ours["accuracy"], theirs["accuracy"]))
        peer.say(
            f"seed {seed}: {len(pairs)} losses at most {apart[-1]:.1e} apart; accuracy on "
            f"{PreferenceCase(seed).heldout_pairs} pairs {ours['accuracy']:.3f}, "
            f"TRL {theirs['trl']} {theirs['accuracy']:.3f}"
        )
    lead = fmean(one - other for one, other in accuracies)
    holds = max(apart) <= LOSS_TOLERANCE and lead >= -BEHIND
    peer.say(f"mean lead in accuracy {lead:+.4f}: {'accepted' if holds else 'NOT ACCEPTED'}")
    return 0 if holds else 1


def build(folder: Path) -> None:
    """Save a random model and a tokenizer that both sides load."""
    made = starter.build(
        ["The model is never read, only compared."],
        vocab_size=known_preferences.VOCABULARY,
        width=64,
        layers=2,
        heads=4,
        seed=workload.SEED,
    )
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)


def train(folder: Path) -> dict[str, Any]:
    """Train our reward model on the case in a folder; return losses and accuracy."""
    case = known_preferences.read(folder)
    rankings = [
        RankedPrompt(
            str(number), tuple(prompt), (tuple(won), tuple(lost)), (PreferencePair(0, 1, 1.0),)
        )
        for number, (prompt, won, lost) in enumerate(known_preferences.train_pairs(case))
    ]
    config = RewardConfig(
        batch_rankings=case.batch,
        learning_rate=case.learning_rate,
        terms=Terms(with_margin=False, centering=0.0),
        autocast=False,
        lora=LoraSettings(known_preferences.RANK, known_preferences.ALPHA),
    )
    roles = Roles(models.load(folder / known_preferences.MODEL_FOLDER))
    reward_model.prepare(roles, config)
    workload.same_start(roles.named_parameters_of("reward").items())
    with torch.no_grad():
        head = roles.head("reward").weight
        head.copy_(workload.head(head.shape[1]))
    run = InOrderRun(roles, rankings, [], config, TrainingState())
    losses = [run.step()["loss"] for _ in range(case.steps)]
    judge = AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    held = known_preferences.heldout_pairs(case)
    raw = judge.raw([Branches(prompt, [won, lost]) for prompt, won, lost in held])[0].view(-1, 2)
    return {
        "losses": losses,
        "accuracy": known_preferences.accuracy(raw[:, 0].tolist(), raw[:, 1].tolist()),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
