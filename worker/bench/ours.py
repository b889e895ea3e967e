"""Our side of the bench: the learning core as jobs use it, on the fixed work.

`python -m worker.bench.ours FOLDER` reports on standard output, step by step; a further argument
"policy" or "value" selects the trunk of PPO's value head.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import transformers

from worker.bench import workload
from worker.bench.measured_side import MeasuredSide
from worker.bench.workload import RowName, Workload
from worker.rlhf.core.examples import PreferencePair, PromptItem, RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.policy import ppo
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.reward import reward_model, scoring
from worker.rlhf.reward.ranking_loss import Terms
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig

Trunk = Literal["value", "policy"]
LORA = LoraSettings(workload.LORA_RANK, workload.LORA_ALPHA)


class InOrderRun(reward_model.RewardRun):
    """A run that takes the prompts in their order, so that both sides see the same batches."""

    def batch(self, member: int) -> list[RankedPrompt]:
        """Return the batch of this step."""
        start = self.state.step * self.config.batch_rankings
        return list(self.ranked_prompts[start : start + self.config.batch_rankings])


def main(arguments: Sequence[str]) -> None:
    """Run the work in a folder."""
    folder = Path(arguments[0])
    work, side = workload.read(folder), MeasuredSide()
    workload.import_llama()
    side.report_ready(
        work.device, {"torch": torch.__version__, "transformers": transformers.__version__}
    )
    dtype = torch.bfloat16 if work.device == "cuda" else torch.float32
    loaded = models.load(folder / workload.MODEL_FOLDER, dtype=dtype, device=work.device)
    # No token ends a response, so that all are equally long.
    endless = replace(loaded, ends=())
    if work.row == "ppo":
        train_policy(side, work, endless, "value" if "value" in arguments[1:] else "policy")
    else:
        RUNS[work.row](side, work, endless)


def train_reward(side: MeasuredSide, work: Workload, loaded: LoadedModel) -> None:
    """Train a reward model on ranked prompts; figures: loss."""
    ranked_prompts = [
        RankedPrompt(
            f"{step}-{number}",
            tuple(prompt.ids),
            tuple(map(tuple, prompt.completions)),
            tuple(PreferencePair(better, worse, share=1.0) for better, worse in work.pairs),
        )
        for step, prompts in enumerate(workload.draw(work))
        for number, prompt in enumerate(prompts)
    ]
    config = RewardConfig(
        batch_rankings=work.batch,
        learning_rate=work.learning_rate,
        terms=Terms(with_margin=False, centering=0.0),
        autocast=work.dtype == "bf16",
        lora=LORA,
    )
    roles = Roles(loaded)
    reward_model.prepare(roles, config)
    same_start(roles, "reward")
    run = InOrderRun(roles, ranked_prompts, (), config, TrainingState())
    for _ in range(work.steps):
        side.begin()
        metrics = run.step()
        side.end()
        side.report({"loss": metrics["loss"]})


def train_policy(side: MeasuredSide, work: Workload, loaded: LoadedModel, trunk: Trunk) -> None:
    """Train a policy with PPO; figures: the mean score and the KL of each batch."""
    prompts = [
        PromptItem(f"{step}-{number}", tuple(prompt.ids))
        for step, step_prompts in enumerate(workload.draw(work))
        for number, prompt in enumerate(step_prompts)
    ]
    autocast = work.dtype == "bf16"
    config = PpoConfig(
        steps=work.steps,
        episodes=work.batch,
        epochs=work.epochs,
        policy_learning_rate=work.learning_rate,
        value_learning_rate=work.learning_rate,
        kl_coefficient=work.kl_coefficient,
        missing_eos_penalty=0.0,
        max_new_tokens=work.response_tokens,
        autocast=autocast,
        value_trunk=trunk,
        watch=WatchConfig(rules=()),
        lora=LORA,
    )
    roles = Roles(loaded)
    roles.add_adapter("reward", LORA)
    roles.add_head("reward", seed=0)
    same_start(roles, "reward")
    ppo.prepare(roles, config)
    same_start(roles, "policy")
    reward = scoring.AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=autocast)
    loop = ppo.train(roles, prompts, (), reward, config, TrainingState())
    for _ in range(work.steps):
        side.begin()
        metrics = next(loop).metrics
        side.end()
        phases = {f"{name}_s": metrics[f"time/{name}_s"] for name in ("generate", "score", "train")}
        side.report({"score": metrics["reward/score"], "kl_nats": metrics["kl/k1"]} | phases)


def sample(side: MeasuredSide, work: Workload, loaded: LoadedModel) -> None:
    """Sample n completions per prompt; figures: nats per token under the model."""
    config = SamplingConfig(
        n=work.completions,
        max_new_tokens=work.response_tokens,
        batch_size=work.batch * work.completions,
        stop_at_eos=False,
        autocast=work.dtype == "bf16",
    )
    for step, step_prompts in enumerate(workload.draw(work)):
        prompts = [
            PromptItem(f"{step}-{number}", tuple(prompt.ids))
            for number, prompt in enumerate(step_prompts)
        ]
        side.begin()
        drawn = list(sampling.generate(loaded, prompts, config))
        side.end()
        ids_of = {prompt.key: prompt.prompt_ids for prompt in prompts}
        sequences = [(*ids_of[c.prompt_key], *c.token_ids) for c in drawn]
        nats = workload.nats_per_token(loaded.model, sequences, work.response_tokens)
        side.report({"nats_per_token": nats})


@torch.no_grad()
def same_start(roles: Roles, name: str) -> None:
    """Initialize a role's adapter, and its head if it has one, as on the other side."""
    workload.same_start(roles.named_parameters_of(name).items())
    if name in roles.heads:
        weight = roles.head(name).weight
        weight.copy_(workload.head(weight.shape[1]))


RUNS: Mapping[RowName, Callable[[MeasuredSide, Workload, LoadedModel], None]] = {
    "reward_k4": train_reward,
    "reward_pairs": train_reward,
    "sampling": sample,
}

if __name__ == "__main__":
    main(sys.argv[1:])
