"""Acceptance of the reward model: compare it with TRL's on the same comparisons and weights.

    python -m worker.bench.reward_acceptance [--seeds N] [--cache FOLDER | --python PATH]

Pairs in the same order, fp32, no dropout, one epoch, LoRA on all linear layers. Ours is accepted if
the first `LOSSES` losses agree within `LOSS_TOLERANCE` and its accuracy against the truth, averaged
over the seeds, is at most `MAX_ACCURACY_LOSS` below TRL's. The exit status is 1 otherwise.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from worker.bench import acceptance_model, case_files, environments, known_preferences, ours, peer
from worker.bench.known_preferences import PreferenceCase
from worker.rlhf.core.examples import PreferencePair, RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.reward import reward_model, scoring
from worker.rlhf.reward.ranking_loss import Terms
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches

PEER = "worker.bench.peers.trl_known_reward"
LOSS_TOLERANCE, LOSSES, MAX_ACCURACY_LOSS = 1e-4, 20, 0.02


def main(arguments: Sequence[str]) -> int:
    """Train both sides on every seed, print the results, and return the exit status."""
    parser = argparse.ArgumentParser(prog="reward_acceptance")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=environments.CACHE)
    parser.add_argument("--python", type=Path, help="interpreter of an environment with TRL 1.16")
    parsed = parser.parse_args(arguments)
    python = parsed.python or environments.python_of(
        environments.REWARD, parsed.cache, peer.print_line
    )
    differences, leads = [], []
    for seed in range(parsed.seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            case_files.write(PreferenceCase(seed), folder)
            build(folder / case_files.MODEL_FOLDER)
            our_result, peer_result = train(folder), peer.run(python, PEER, folder)
        losses = list(zip(our_result["losses"], peer_result["losses"], strict=True))[:LOSSES]
        differences.append(max(abs(a - b) for a, b in losses))
        leads.append(our_result["accuracy"] - peer_result["accuracy"])
        peer.print_line(
            f"seed {seed}: {len(losses)} losses differ by at most {differences[-1]:.1e}; accuracy "
            f"on {PreferenceCase(seed).heldout_pairs} pairs {our_result['accuracy']:.3f}, "
            f"TRL {peer_result['trl']} {peer_result['accuracy']:.3f}"
        )
    lead = fmean(leads)
    is_accepted = max(differences) <= LOSS_TOLERANCE and lead >= -MAX_ACCURACY_LOSS
    peer.print_line(
        f"mean lead in accuracy {lead:+.4f}: {'accepted' if is_accepted else 'NOT ACCEPTED'}"
    )
    return 0 if is_accepted else 1


def build(folder: Path) -> None:
    """Save a random model and a tokenizer that both sides load."""
    base = acceptance_model.build(known_preferences.VOCABULARY)
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)


def train(folder: Path) -> dict[str, Any]:
    """Train our reward model on the case in a folder; return losses and accuracy."""
    case = case_files.read(folder, PreferenceCase)
    ranked_prompts = [
        RankedPrompt(
            str(number),
            tuple(prompt),
            (tuple(chosen), tuple(rejected)),
            (PreferencePair(0, 1, 1.0),),
        )
        for number, (prompt, chosen, rejected) in enumerate(known_preferences.train_pairs(case))
    ]
    config = RewardConfig(
        batch_rankings=case.batch,
        learning_rate=case.learning_rate,
        terms=Terms(with_margin=False, centering=0.0),
        autocast=False,
        lora=LoraSettings(known_preferences.RANK, known_preferences.ALPHA),
    )
    roles = Roles(models.load(folder / case_files.MODEL_FOLDER))
    reward_model.prepare(roles, config)
    ours.same_start(roles, "reward")
    run = ours.InOrderRun(roles, ranked_prompts, [], config, TrainingState())
    losses = [run.step()["loss"] for _ in range(case.steps)]
    reward = AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    branches = [
        Branches(prompt, [chosen, rejected])
        for prompt, chosen, rejected in known_preferences.heldout_pairs(case)
    ]
    scores = reward.raw(branches)[0].view(-1, 2)
    return {
        "losses": losses,
        "accuracy": known_preferences.accuracy(scores[:, 0].tolist(), scores[:, 1].tolist()),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
