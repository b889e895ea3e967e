"""Settings of TRL's trainers that correspond to ours or only save time, common to all programs.

Gradient checkpointing, reports, progress bars and samples are turned off, since they cost the peer
time. Needs only peft, which both of the peers' environments have.
"""

from typing import Any

from peft import LoraConfig

COMMON: dict[str, Any] = {
    "weight_decay": 0.0,
    "lr_scheduler_type": "linear",
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
}
REWARD: dict[str, Any] = COMMON | {
    "train_sampling_strategy": "sequential",
    "warmup_steps": 0,
    "max_grad_norm": 1.0,
}
PPO: dict[str, Any] = COMMON | {
    "num_mini_batches": 1,
    "temperature": 1.0,
    "kl_estimator": "k1",
    "cliprange": 0.2,
    "cliprange_value": 0.2,
    "vf_coef": 0.1,
    "gamma": 1.0,
    "lam": 0.95,
    "whiten_rewards": False,
    "missing_eos_penalty": None,
    "adam_epsilon": 1e-5,
    "num_sample_generations": 0,
}


def policy_lora(rank: int, alpha: int) -> LoraConfig:
    """Return the adapter of a policy, on all linear layers."""
    return _lora(rank, alpha, task_type="CAUSAL_LM")


def value_lora(rank: int, alpha: int) -> LoraConfig:
    """Return the adapter of a value model, whose head is trained in full, as ours is."""
    return _lora(rank, alpha, exclude_modules=["score"])


def reward_lora(rank: int, alpha: int) -> LoraConfig:
    """Return the adapter of a reward model, whose head is trained in full, as ours is."""
    return _lora(rank, alpha, task_type="SEQ_CLS", modules_to_save=["score"])


def _lora(rank: int, alpha: int, **own: Any) -> LoraConfig:
    return LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", **own
    )
