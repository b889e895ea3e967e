"""TRL's RewardTrainer on comparisons of known preference; answers one line of JSON."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import RewardConfig, RewardTrainer

from worker.bench import known_preferences, workload
from worker.bench.known_preferences import PreferenceCase, TokenPair


class Losses(TrainerCallback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, *_: Any, **given: Any) -> None:
        """Take a step's loss."""
        if "loss" in given["logs"]:
            self.losses.append(float(given["logs"]["loss"]))


def main() -> None:
    """Train on the case in a folder, and say its losses and its held-out accuracy."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = Path(sys.argv[1])
    case, seen = known_preferences.read(folder), Losses()
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / known_preferences.MODEL_FOLDER, num_labels=1, dtype=torch.float32
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
        processing_class=AutoTokenizer.from_pretrained(folder / known_preferences.MODEL_FOLDER),
        peft_config=LoraConfig(
            r=known_preferences.RANK,
            lora_alpha=known_preferences.ALPHA,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="SEQ_CLS",
            modules_to_save=["score"],
        ),
        callbacks=[seen],
    )
    workload.same_start(trainer.model.named_parameters())
    trainer.train()
    held = known_preferences.heldout_pairs(case)
    chosen, rejected = (scores(trainer.model, held, side) for side in (1, 2))
    found = {
        "trl": trl.__version__,
        "losses": seen.losses,
        "accuracy": known_preferences.accuracy(chosen, rejected),
    }
    answers.write(json.dumps(found) + "\n")
    answers.flush()


@torch.no_grad()
def scores(model: Any, pairs: Sequence[TokenPair], side: int) -> list[float]:
    """Return the score of one side of each pair; all are equally long."""
    model.eval()
    found: list[float] = []
    for start in range(0, len(pairs), 100):
        rows = torch.tensor([[*pair[0], *pair[side]] for pair in pairs[start : start + 100]])
        found += model(input_ids=rows, attention_mask=torch.ones_like(rows)).logits[:, 0].tolist()
    return found


def settings(case: PreferenceCase, folder: Path) -> RewardConfig:
    """Return the trainer's settings: ours in its words."""
    return RewardConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=case.batch,
        train_sampling_strategy="sequential",
        num_train_epochs=1,
        learning_rate=case.learning_rate,
        weight_decay=0.0,
        max_grad_norm=1.0,
        lr_scheduler_type="linear",
        warmup_steps=0,
        disable_dropout=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )


if __name__ == "__main__":
    main()
