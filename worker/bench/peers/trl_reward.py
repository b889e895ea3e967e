"""TRL's RewardTrainer on the fixed work: rankings as pairs, LoRA on all linear layers.

Settings that only cost it time are off: checkpointed gradients, reports, progress bars. Its batches
are as large as ours; one of its passes holds `micro_batch` pairs.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import RewardConfig, RewardTrainer

from worker.bench import workload
from worker.bench.measured_side import MeasuredSide
from worker.bench.workload import Workload


class RewardClock(TrainerCallback):
    """Lets the trainer take a step when it is asked for one."""

    def __init__(self, side: MeasuredSide) -> None:
        self.side = side
        self.is_timed = False

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Wait for the next order."""
        self.side.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock; the loss comes with the log."""
        self.side.end()

    def on_log(self, *_: Any, **given: Any) -> None:
        """Answer."""
        logs = given["logs"]
        if "loss" in logs:
            self.side.tell({"loss": float(logs["loss"])})


def main() -> None:
    """Do the work in a folder."""
    folder = Path(sys.argv[1])
    work, side = workload.read(folder), MeasuredSide()
    workload.import_llama()
    versions = {"torch": torch, "transformers": transformers, "trl": trl}
    side.is_ready(work.device, {name: str(of.__version__) for name, of in versions.items()})
    trainer = RewardTrainer(
        model=load(folder, work),
        args=settings(work, folder),
        train_dataset=pairs(work),
        processing_class=AutoTokenizer.from_pretrained(folder / workload.MODEL_FOLDER),
        peft_config=LoraConfig(
            r=workload.LORA_RANK,
            lora_alpha=workload.LORA_ALPHA,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="SEQ_CLS",
            modules_to_save=["score"],
        ),
        callbacks=[RewardClock(side)],
    )
    workload.same_start(trainer.model.named_parameters())
    trainer.train()


def load(folder: Path, work: Workload) -> Any:
    """Return the model as a classifier with our head."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / workload.MODEL_FOLDER,
        num_labels=1,
        dtype=torch.bfloat16 if work.device == "cuda" else torch.float32,
    ).to(work.device)
    with torch.no_grad():
        model.score.weight.copy_(workload.head(work.shape.width))
    return model


def pairs(work: Workload) -> Dataset:
    """Return every pair of every ranking, in our order."""
    rows: dict[str, list[list[int]]] = {"chosen_ids": [], "rejected_ids": []}
    for prompts in workload.draw(work):
        for prompt in prompts:
            for better, worse in work.pairs:
                rows["chosen_ids"].append(prompt.ids + prompt.completions[better])
                rows["rejected_ids"].append(prompt.ids + prompt.completions[worse])
    return Dataset.from_dict(rows)


def settings(work: Workload, folder: Path) -> RewardConfig:
    """Return the trainer's settings: ours in its words."""
    per_step = work.batch * len(work.pairs)
    micro = min(work.micro_batch, per_step)
    return RewardConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=per_step // micro,
        train_sampling_strategy="sequential",
        max_steps=work.steps,
        learning_rate=work.learning_rate,
        weight_decay=0.0,
        max_grad_norm=1.0,
        lr_scheduler_type="linear",
        warmup_steps=0,
        bf16=work.dtype == "bf16",
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=work.device == "cpu",
    )


if __name__ == "__main__":
    main()
