"""TRL's PPO on the fixed work, with LoRA on all linear layers of the policy and the value model.

A value model with adapters is TRL's best case: by default it trains all weights of that model.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from peft import inject_adapter_in_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

from worker.bench import workload
from worker.bench.measured_side import MeasuredSide
from worker.bench.peers import trl_settings
from worker.bench.workload import Workload


class PpoStepper(TrainerCallback):
    """Lets the trainer take one batch per request, and reports its figures."""

    def __init__(self, side: MeasuredSide) -> None:
        self.side = side
        self.logs: dict[str, float] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Wait for the first request."""
        self.side.begin()

    def on_log(self, *_: Any, **arguments: Any) -> None:
        """Keep the figures of the batch."""
        self.logs = arguments["logs"]

    def on_step_end(self, args: Any, state: Any, control: Any, **__: Any) -> Any:
        """Report, and wait for the next request."""
        self.side.end()
        self.side.report(
            {"score": self.logs["objective/scores"], "kl_nats": self.logs["objective/kl"]}
        )
        self.side.begin()
        return control


def main() -> None:
    """Run the work in a folder."""
    folder = Path(sys.argv[1])
    work, side = workload.read(folder), MeasuredSide()
    workload.import_llama()
    if work.dtype == "bf16":
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"  # PPOConfig.bf16 does not reach it
    versions = {"torch": torch, "transformers": transformers, "trl": trl}
    side.report_ready(work.device, {name: str(of.__version__) for name, of in versions.items()})
    path = folder / workload.MODEL_FOLDER
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    dtype = torch.bfloat16 if work.device == "cuda" else torch.float32
    value_lora = trl_settings.value_lora(workload.LORA_RANK, workload.LORA_ALPHA)
    value = inject_adapter_in_model(value_lora, classifier(path, work, dtype))
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
        peft_config=trl_settings.policy_lora(workload.LORA_RANK, workload.LORA_ALPHA),
        callbacks=[PpoStepper(side)],
    )
    workload.same_start(trainer.model.named_parameters())
    trainer.train()


def classifier(path: Path, work: Workload, dtype: torch.dtype) -> Any:
    """Return the model as a classifier with our initial head."""
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=dtype)
    with torch.no_grad():
        model.score.weight.copy_(workload.head(work.shape.width))
    return model


def prompts(work: Workload) -> Dataset:
    """Return all prompts of the run."""
    return Dataset.from_dict(
        {"input_ids": [prompt.ids for step in workload.draw(work) for prompt in step]}
    )


def settings(work: Workload, folder: Path) -> PPOConfig:
    """Return the trainer's settings, which correspond to ours."""
    return PPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=work.micro_batch,
        gradient_accumulation_steps=work.batch // work.micro_batch,
        local_rollout_forward_batch_size=work.batch,
        num_ppo_epochs=work.epochs,
        total_episodes=work.batch * work.steps,
        response_length=work.response_tokens,
        kl_coef=work.kl_coefficient,
        learning_rate=work.learning_rate,
        bf16=work.dtype == "bf16",
        use_cpu=work.device == "cpu",
        **trl_settings.PPO,
    )


if __name__ == "__main__":
    main()
