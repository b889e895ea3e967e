"""TRL's PPO on a reward that is known; leaves its policy's adapter beside the case.

Settings are ours in its words. The value model has adapters too, which is TRL's best case.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import trl
from datasets import Dataset
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer

from worker.bench import known_reward, workload
from worker.bench.known_reward import PolicyCase


class Backbone(nn.Module):
    """Passes the ids on as if they were hidden states."""

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        """Return the ids, [B, T, 1]."""
        return SimpleNamespace(hidden_states=[input_ids[..., None]])


class KnownRewardModel(nn.Module):
    """The known reward in the shape of a reward model: a score at every position."""

    base_model_prefix = "backbone"

    def __init__(self, worth: Tensor) -> None:
        super().__init__()
        self.backbone, self.worth = Backbone(), worth

    def score(self, ids: Tensor) -> Tensor:
        """Return the reward of the answer up to each position, [B, T, 1] -> [B, T, 1]."""
        answer = ids[:, known_reward.PROMPT_TOKENS :, 0]
        sums = self.worth[answer].cumsum(1)
        scores = torch.zeros(ids.shape[:2])
        scores[:, known_reward.PROMPT_TOKENS :] = sums / known_reward.ANSWER_TOKENS**0.5
        return scores[..., None]


def main() -> None:
    """Train on the case in a folder, and say which version did."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = Path(sys.argv[1])
    case, path = known_reward.read(folder), folder / known_reward.MODEL_FOLDER
    lora = LoraConfig(
        r=known_reward.RANK,
        lora_alpha=known_reward.ALPHA,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    model.generation_config.eos_token_id = None  # no id ends an answer, so that all are as long
    value = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)
    with torch.no_grad():
        value.score.weight.copy_(workload.head(value.config.hidden_size))
    inside = LoraConfig(
        r=known_reward.RANK,
        lora_alpha=known_reward.ALPHA,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=["score"],  # trained as a whole, as ours is
    )
    value = inject_adapter_in_model(inside, value)
    value.score.requires_grad_(True)
    rows = Dataset.from_dict({"input_ids": known_reward.prompts(case, case.episodes * case.steps)})
    trainer = PPOTrainer(
        args=settings(case, folder),
        processing_class=AutoTokenizer.from_pretrained(path, padding_side="left"),
        model=model,
        ref_model=None,
        reward_model=KnownRewardModel(known_reward.read_worth(folder)),
        value_model=value,
        train_dataset=rows,
        eval_dataset=rows.select(range(case.episodes)),
        peft_config=lora,
    )
    workload.same_start(trainer.model.named_parameters())
    trainer.train()
    trainer.model.policy.save_pretrained(folder / known_reward.PEER_FOLDER)
    answers.write(json.dumps({"trl": trl.__version__}) + "\n")
    answers.flush()


def settings(case: PolicyCase, folder: Path) -> PPOConfig:
    """Return the trainer's settings: ours in its words."""
    return PPOConfig(
        output_dir=str(folder / "trl"),
        seed=case.seed,
        per_device_train_batch_size=case.episodes,
        gradient_accumulation_steps=1,
        local_rollout_forward_batch_size=case.episodes,
        num_mini_batches=1,
        num_ppo_epochs=case.epochs,
        total_episodes=case.episodes * case.steps,
        response_length=known_reward.ANSWER_TOKENS,
        temperature=1.0,
        kl_coef=case.kl_coefficient,
        kl_estimator="k1",
        cliprange=0.2,
        cliprange_value=0.2,
        vf_coef=0.1,
        gamma=1.0,
        lam=0.95,
        whiten_rewards=False,
        missing_eos_penalty=None,
        learning_rate=case.learning_rate,
        adam_epsilon=1e-5,
        weight_decay=0.0,
        lr_scheduler_type="linear",
        bf16=False,
        gradient_checkpointing=False,
        num_sample_generations=0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )


if __name__ == "__main__":
    main()
