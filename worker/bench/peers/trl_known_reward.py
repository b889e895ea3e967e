"""TRL's RewardTrainer on comparisons with known preferences; prints one line of JSON."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import RewardConfig, RewardTrainer

from worker.bench import case_files, known_preferences, workload
from worker.bench.known_preferences import PreferenceCase, TokenPair
from worker.bench.peers import trl_settings


class LossRecorder(TrainerCallback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, *_: Any, **arguments: Any) -> None:
        """Keep the loss of a step."""
        if "loss" in arguments["logs"]:
            self.losses.append(float(arguments["logs"]["loss"]))


def main() -> None:
    """Train on the case in a folder, and print its losses and held-out accuracy."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = Path(sys.argv[1])
    case, recorder = case_files.read(folder, PreferenceCase), LossRecorder()
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / case_files.MODEL_FOLDER, num_labels=1, dtype=torch.float32
    )
    with torch.no_grad():
        model.score.weight.copy_(workload.head(model.config.hidden_size))
    pairs = known_preferences.train_pairs(case)
    trainer = RewardTrainer(
        model=model,
        args=settings(case, folder),
        train_dataset=Dataset.from_dict(
            {
                "chosen_ids": [prompt + chosen for prompt, chosen, _ in pairs],
                "rejected_ids": [prompt + rejected for prompt, _, rejected in pairs],
            }
        ),
        processing_class=AutoTokenizer.from_pretrained(folder / case_files.MODEL_FOLDER),
        peft_config=trl_settings.reward_lora(known_preferences.RANK, known_preferences.ALPHA),
        callbacks=[recorder],
    )
    workload.same_start(trainer.model.named_parameters())
    trainer.train()
    heldout = known_preferences.heldout_pairs(case)
    chosen, rejected = (scores(trainer.model, heldout, index) for index in (1, 2))
    result = {
        "trl": trl.__version__,
        "losses": recorder.losses,
        "accuracy": known_preferences.accuracy(chosen, rejected),
    }
    output.write(json.dumps(result) + "\n")
    output.flush()


@torch.no_grad()
def scores(model: Any, pairs: Sequence[TokenPair], index: int) -> list[float]:
    """Return the score of one response of each pair; all are equally long."""
    model.eval()
    logits: list[float] = []
    for start in range(0, len(pairs), 100):
        rows = torch.tensor([[*pair[0], *pair[index]] for pair in pairs[start : start + 100]])
        logits += model(input_ids=rows, attention_mask=torch.ones_like(rows)).logits[:, 0].tolist()
    return logits


def settings(case: PreferenceCase, folder: Path) -> RewardConfig:
    """Return the trainer's settings, which correspond to ours."""
    return RewardConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=case.batch,
        num_train_epochs=1,
        learning_rate=case.learning_rate,
        disable_dropout=True,
        bf16=False,
        use_cpu=True,
        **trl_settings.REWARD,
    )


if __name__ == "__main__":
    main()
