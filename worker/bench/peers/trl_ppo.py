"""TRL's PPO on the fixed work, LoRA on all linear layers of the policy and of the value model.

A value model with adapters is TRL's best case: by itself it trains all of that model's weights.
Settings that only cost it time are off: checkpointed gradients, reports, samples to look at.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig, inject_adapter_in_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

from worker.bench import workload
from worker.bench.measured_side import MeasuredSide
from worker.bench.workload import Workload


class PpoClock(TrainerCallback):
    """Lets the trainer take a batch when it is asked for one."""

    def __init__(self, side: MeasuredSide) -> None:
        self.side = side
        self.logs: dict[str, float] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Wait for the first order."""
        self.side.begin()

    def on_log(self, *_: Any, **given: Any) -> None:
        """Keep what the batch was like."""
        self.logs = given["logs"]

    def on_step_end(self, args: Any, state: Any, control: Any, **__: Any) -> Any:
        """Answer, and wait for the next order."""
        self.side.end()
        self.side.tell(
            {"score": self.logs["objective/scores"], "kl_nats": self.logs["objective/kl"]}
        )
        self.side.begin()
        return control


def main() -> None:
    """Do the work in a folder."""
    folder = Path(sys.argv[1])
    work, side = workload.read(folder), MeasuredSide()
    workload.import_llama()
    if work.dtype == "bf16":
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"  # its own setting does not reach it
    versions = {"torch": torch, "transformers": transformers, "trl": trl}
    side.is_ready(work.device, {name: str(of.__version__) for name, of in versions.items()})
    path = folder / workload.MODEL_FOLDER
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    dtype = torch.bfloat16 if work.device == "cuda" else torch.float32
    lora = LoraConfig(
        r=workload.LORA_RANK,
        lora_alpha=workload.LORA_ALPHA,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=["score"],  # trained as a whole, as ours is
    )
    value = inject_adapter_in_model(lora, classifier(path, work, dtype))
    value.score.requires_grad_(True)
    trainer = PPOTrainer(
        args=settings(work, folder),
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(path, dtype=dtype),
        ref_model=None,
        reward_model=classifier(path, work, dtype),
        value_model=value,
        train_dataset=prompts(work),
        eval_dataset=prompts(work),
        peft_config=LoraConfig(
            r=workload.LORA_RANK,
            lora_alpha=workload.LORA_ALPHA,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[PpoClock(side)],
    )
    workload.same_start(trainer.model.named_parameters())
    trainer.train()


def classifier(path: Path, work: Workload, dtype: torch.dtype) -> Any:
    """Return the model as a classifier with our head."""
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=dtype)
    with torch.no_grad():
        model.score.weight.copy_(workload.head(work.shape.width))
    return model


def prompts(work: Workload) -> Dataset:
    """Return all prompts of the run."""
    return Dataset.from_dict(
        {"input_ids": [prompt.ids for some in workload.draw(work) for prompt in some]}
    )


def settings(work: Workload, folder: Path) -> PPOConfig:
    """Return the trainer's settings: ours in its words."""
    return PPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=work.micro_batch,
        gradient_accumulation_steps=work.batch // work.micro_batch,
        local_rollout_forward_batch_size=work.batch,
        num_mini_batches=1,
        num_ppo_epochs=work.epochs,
        total_episodes=work.batch * work.steps,
        response_length=work.response_tokens,
        temperature=1.0,
        kl_coef=work.kl_coefficient,
        kl_estimator="k1",
        cliprange=0.2,
        cliprange_value=0.2,
        vf_coef=0.1,
        gamma=1.0,
        lam=0.95,
        whiten_rewards=False,
        missing_eos_penalty=None,
        learning_rate=work.learning_rate,
        adam_epsilon=1e-5,
        weight_decay=0.0,
        lr_scheduler_type="linear",
        bf16=work.dtype == "bf16",
        gradient_checkpointing=False,
        num_sample_generations=0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=work.device == "cpu",
    )


if __name__ == "__main__":
    main()
