"""TRL's RewardTrainer on the fixed work: ranked prompts as pairs, LoRA on all linear layers.

Its batches are as large as ours; one of its forward passes holds `micro_batch` pairs.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import RewardConfig, RewardTrainer

from worker.bench import workload
from worker.bench.measured_side import MeasuredSide
from worker.bench.peers import trl_settings
from worker.bench.workload import Workload


class RewardStepper(TrainerCallback):
    """Lets the trainer take one step per request, and reports its loss."""

    def __init__(self, side: MeasuredSide) -> None:
        self.side = side

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Wait for the next request."""
        self.side.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock; the loss comes with the log."""
        self.side.end()

    def on_log(self, *_: Any, **arguments: Any) -> None:
        """Report the loss of the step."""
        logs = arguments["logs"]
        if "loss" in logs:
            self.side.report({"loss": float(logs["loss"])})


def main() -> None:
    """Run the work in a folder."""
    folder = Path(sys.argv[1])
    work, side = workload.read(folder), MeasuredSide()
    workload.import_llama()
    versions = {"torch": torch, "transformers": transformers, "trl": trl}
    side.report_ready(work.device, {name: str(of.__version__) for name, of in versions.items()})
    trainer = RewardTrainer(
        model=load(folder, work),
        args=settings(work, folder),
        train_dataset=pairs(work),
        processing_class=AutoTokenizer.from_pretrained(folder / workload.MODEL_FOLDER),
        peft_config=trl_settings.reward_lora(workload.LORA_RANK, workload.LORA_ALPHA),
        callbacks=[RewardStepper(side)],
    )
    workload.same_start(trainer.model.named_parameters())
    trainer.train()


def load(folder: Path, work: Workload) -> Any:
    """Return the model as a classifier with our initial head."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / workload.MODEL_FOLDER,
        num_labels=1,
        dtype=torch.bfloat16 if work.device == "cuda" else torch.float32,
    ).to(work.device)
    with torch.no_grad():
        model.score.weight.copy_(workload.head(work.shape.width))
    return model


def pairs(work: Workload) -> Dataset:
    """Return every pair of every ranked prompt, in our order."""
    rows: dict[str, list[list[int]]] = {"chosen_ids": [], "rejected_ids": []}
    for prompts in workload.draw(work):
        for prompt in prompts:
            for better, worse in work.pairs:
                rows["chosen_ids"].append(prompt.ids + prompt.completions[better])
                rows["rejected_ids"].append(prompt.ids + prompt.completions[worse])
    return Dataset.from_dict(rows)


def settings(work: Workload, folder: Path) -> RewardConfig:
    """Return the trainer's settings, which correspond to ours."""
    pairs_per_step = work.batch * len(work.pairs)
    micro_batch = min(work.micro_batch, pairs_per_step)
    return RewardConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=pairs_per_step // micro_batch,
        max_steps=work.steps,
        learning_rate=work.learning_rate,
        bf16=work.dtype == "bf16",
        use_cpu=work.device == "cpu",
        **trl_settings.REWARD,
    )


if __name__ == "__main__":
    main()
