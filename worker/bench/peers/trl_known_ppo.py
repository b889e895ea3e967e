"""TRL's PPO on a known reward; saves its policy's adapter in the case folder.

Its settings correspond to ours. The value model has adapters as well, which is TRL's best case.
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
from peft import inject_adapter_in_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer

from worker.bench import case_files, known_reward, workload
from worker.bench.known_reward import PolicyCase
from worker.bench.peers import trl_settings


class Backbone(nn.Module):
    """Returns the token ids in place of hidden states."""

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        """Return the ids, [B, T, 1]."""
        return SimpleNamespace(hidden_states=[input_ids[..., None]])


class KnownRewardModel(nn.Module):
    """The known reward with the interface of a reward model: a score at every position."""

    base_model_prefix = "backbone"

    def __init__(self, worth: Tensor) -> None:
        super().__init__()
        self.backbone, self.worth = Backbone(), worth

    def score(self, ids: Tensor) -> Tensor:
        """Return the reward of the response up to each position, [B, T, 1] -> [B, T, 1]."""
        response = ids[:, known_reward.PROMPT_TOKENS :, 0]
        sums = self.worth[response].cumsum(1)
        scores = torch.zeros(ids.shape[:2])
        scores[:, known_reward.PROMPT_TOKENS :] = sums / known_reward.RESPONSE_TOKENS**0.5
        return scores[..., None]


def main() -> None:
    """Train on the case in a folder, and print TRL's version."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = Path(sys.argv[1])
    case, path = case_files.read(folder, PolicyCase), folder / case_files.MODEL_FOLDER
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    model.generation_config.eos_token_id = None  # no id ends a response: all are equally long
    value = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)
    with torch.no_grad():
        value.score.weight.copy_(workload.head(value.config.hidden_size))
    value_lora = trl_settings.value_lora(known_reward.RANK, known_reward.ALPHA)
    value = inject_adapter_in_model(value_lora, value)
    value.score.requires_grad_(True)
    prompts = known_reward.prompts(case, case.episodes * case.steps)
    dataset = Dataset.from_dict({"input_ids": prompts})
    trainer = PPOTrainer(
        args=settings(case, folder),
        processing_class=AutoTokenizer.from_pretrained(path, padding_side="left"),
        model=model,
        ref_model=None,
        reward_model=KnownRewardModel(known_reward.read_worth(folder)),
        value_model=value,
        train_dataset=dataset,
        eval_dataset=dataset.select(range(case.episodes)),
        peft_config=trl_settings.policy_lora(known_reward.RANK, known_reward.ALPHA),
    )
    workload.same_start(trainer.model.named_parameters())
    trainer.train()
    trainer.model.policy.save_pretrained(folder / known_reward.PEER_FOLDER)
    output.write(json.dumps({"trl": trl.__version__}) + "\n")
    output.flush()


def settings(case: PolicyCase, folder: Path) -> PPOConfig:
    """Return the trainer's settings, which correspond to ours."""
    return PPOConfig(
        output_dir=str(folder / "trl"),
        seed=case.seed,
        per_device_train_batch_size=case.episodes,
        gradient_accumulation_steps=1,
        local_rollout_forward_batch_size=case.episodes,
        num_ppo_epochs=case.epochs,
        total_episodes=case.episodes * case.steps,
        response_length=known_reward.RESPONSE_TOKENS,
        kl_coef=case.kl_coefficient,
        learning_rate=case.learning_rate,
        bf16=False,
        use_cpu=True,
        **trl_settings.PPO,
    )


if __name__ == "__main__":
    main()
