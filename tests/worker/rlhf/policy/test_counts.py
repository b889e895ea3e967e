"""What a PPO step costs, as counts that no machine's load changes."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, masking_utils

from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import prompts
from worker.rlhf.core import device_reads
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.models import adopt
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.policy import ppo, rollout
from worker.rlhf.policy.metric_sums import MetricSums
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig, Update
from worker.rlhf.reward import scoring
from worker.rlhf.reward.scoring import AdapterReward

CONFIG = PpoConfig(
    steps=1,
    episodes=8,
    epochs=4,
    max_new_tokens=6,
    autocast=False,
    lora=tiny.LORA,
    watch=WatchConfig(prompts=0, rules=()),
)
TRUNKS = pytest.mark.parametrize("trunk", ["policy", "value"])


def _prepared(config: PpoConfig, dtype: torch.dtype = torch.float32) -> Roles:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(tiny.tiny_config())
    torch.nn.Module.to(model, dtype=dtype)
    roles = Roles(adopt(model, tiny.tokenizer(), "tiny"))
    roles.add_adapter("reward", config.lora)
    roles.add_head("reward", seed=0)
    ppo.prepare(roles, config)
    return roles


def _counted_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the rows of each forward pass from now on."""
    rows: list[int] = []
    own = Roles.hidden

    def counted(self: Roles, input_ids: Tensor, *rest: object, **named: object) -> Tensor:
        rows.append(input_ids.shape[0])
        return own(self, input_ids, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Roles, "hidden", counted)
    return rows


def _step(roles: Roles, config: PpoConfig) -> dict[str, float]:
    reward = AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    loop = ppo.train(roles, prompts(8), [], reward, config, TrainingState())
    return dict(next(loop).metrics)


@TRUNKS
def test_a_step_switches_roles_as_often_however_many_micro_batches_it_has(trunk: str) -> None:
    counts = []
    for tokens in (16, 4096):
        config = replace(CONFIG, value_trunk=trunk, token_budget=tokens)  # type: ignore[arg-type]
        roles = _prepared(config)
        before = roles.switches
        _step(roles, config)
        counts.append(roles.switches - before)
    assert counts[0] == counts[1]
    # In and out of: sampling, reward, policy, the value adapter; and each trained role per epoch.
    assert counts[0] <= (6 + 2 * 4 if trunk == "policy" else 8 + 4 * 4)


@TRUNKS
def test_a_step_passes_each_episode_through_the_model_as_often_as_it_must(
    trunk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, value_trunk=trunk)  # type: ignore[arg-type]
    roles = _prepared(config)
    reward = AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    rows = _counted_passes(monkeypatch)
    next(ppo.train(roles, prompts(8), [], reward, config, TrainingState()))
    # Reward, policy, reference and the value adapter; then each trained role in each epoch.
    per_episode = 3 + 4 if trunk == "policy" else 4 + 2 * 4
    assert sum(rows) == per_episode * config.episodes


def _move_where_reading_raises(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move a model to a device without memory, which has no autocast either."""
    torch.nn.Module.to(roles.causal, device="meta")
    roles.heads.to("meta")
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)


@TRUNKS
def test_no_pass_of_an_update_waits_for_the_device_but_where_the_library_does(
    trunk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, value_trunk=trunk, token_budget=24)  # type: ignore[arg-type]
    roles = _prepared(config)
    reward = AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    collected = rollout.collect(
        roles, prompts(8), reward, config.sampling, config.forward, with_values=True
    )
    targets = ppo.targets_of(collected, config, 0.1)
    update = Update(roles, config, TrainingState())
    sums = MetricSums()
    _move_where_reading_raises(roles, monkeypatch)
    waits: list[Tensor] = []
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", waits.append)
    passes = _counted_passes(monkeypatch)
    update.accumulate(targets, range(8), sums)
    assert len(waits) == len(passes)  # it asks whether rows are packed, once a forward pass
    assert len(passes) > 2
    with pytest.raises((RuntimeError, NotImplementedError)):
        sums.means()  # the one place that reads


def test_an_update_reads_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    own = device_reads.read

    def counted(values: list[Tensor]) -> list[float]:
        reads.append(len(values))
        return own(values)

    monkeypatch.setattr(device_reads, "read", counted)
    _step(_prepared(CONFIG), CONFIG)
    assert len([count for count in reads if count]) == 1


def test_a_frozen_base_takes_two_bytes_a_weight_and_what_is_trained_four() -> None:
    roles = _prepared(CONFIG, torch.bfloat16)
    before = {name: p.clone() for name, p in roles.named_parameters_of(BASE).items()}
    update = Update(roles, CONFIG, TrainingState())
    reward = AdapterReward(roles, ("reward",), scoring.probe(roles))
    collected = rollout.collect(
        roles, prompts(8), reward, CONFIG.sampling, CONFIG.forward, with_values=True
    )
    metrics = update.step(ppo.targets_of(collected, CONFIG, 0.1))
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    base = roles.named_parameters_of(BASE)
    assert sum(p.element_size() * p.numel() for p in base.values()) == 2 * sum(
        p.numel() for p in base.values()
    )
    assert all(torch.equal(p, before[name]) for name, p in base.items())
    trained = [p for role in ("policy", "value") for p in roles.parameters_of(role)]
    assert {p.dtype for p in trained} == {torch.float32}
    moments = [
        value
        for optimizer in update.optimizers.values()
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    ]
    assert {moment.dtype for moment in moments} == {torch.float32}
    assert collected.logprobs.dtype == torch.float32
