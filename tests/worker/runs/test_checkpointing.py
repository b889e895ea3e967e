"""Runs that keep less in memory and compute it again end with the same weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sqlalchemy import select

from app.db import Database
from app.domain.plan import Algorithm, RoundPlan
from app.models import Checkpoint, Round
from tests.worker.rlhf import tiny
from tests.worker.runs import small
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model import llama
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.runs import find

WEIGHTS = {
    "sft": "adapter_model.safetensors",
    "reward": "reward/adapter_model.safetensors",
    "policy": "adapter_model.safetensors",
}
TOLERANCE = 1e-6


def trained(database: Database, folder: Path, kind: str) -> dict[str, torch.Tensor]:
    context = small.claimed(database, folder)
    assert context.kind == kind
    find(kind)(context)
    with database.reader() as session:
        row = session.scalars(select(Checkpoint).where(Checkpoint.kind == kind)).one()
    return load_file(folder / "artifacts" / row.uri / WEIGHTS[kind])


def with_checkpoints(database: Database) -> None:
    with database.transaction() as session:
        round_ = session.scalars(select(Round)).one()
        plan = replace(RoundPlan.from_json(round_.plan), checkpoints_gradients=True)
        round_.plan = plan.to_json()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("sft", Algorithm.PPO),
        ("reward", Algorithm.PPO),
        ("policy", Algorithm.PPO),
        ("policy", Algorithm.DPO),
    ],
)
def test_a_run_that_checkpoints_its_gradients_ends_with_the_same_weights(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    algorithm: Algorithm,
) -> None:
    # Of two ways to compute a layer the rounding differs; checkpoints need the model's own code.
    monkeypatch.setattr(llama, "supports", lambda _model: False)
    base = small.save_tiny_llama(tmp_path / "base")
    plan = small.plan(
        sft=replace(small.SFT, lora=small.LORA),
        policy=replace(small.PLAN.policy, algorithm=algorithm, max_steps=2),
    )
    small.up_to(database, tmp_path, kind, plan, base_model=str(base))
    twin = small.copied(database, tmp_path, tmp_path / "twin")
    without = trained(database, tmp_path, kind)

    with_checkpoints(twin)
    asked: list[bool] = []
    enable = Roles.checkpoint_gradients

    def noting(roles: Roles, enabled: bool) -> None:
        asked.append(enabled)
        enable(roles, enabled)

    monkeypatch.setattr(Roles, "checkpoint_gradients", noting)
    found = trained(twin, tmp_path / "twin", kind)
    twin.dispose()

    assert asked == [True]
    assert found.keys() == without.keys()
    for name, tensor in without.items():
        assert torch.allclose(found[name], tensor, rtol=0.0, atol=TOLERANCE), name


@pytest.mark.parametrize("make", [tiny.loaded, tiny.loaded_gpt2])
def test_checkpointed_layers_run_again_and_sampling_keeps_its_cache(
    make: Callable[[], LoadedModel],
) -> None:
    prompts = [PromptItem(str(n), ids) for n, ids in enumerate(tiny.token_ids(5, 9, 12))]
    config = SamplingConfig(n=2, max_new_tokens=12, seed=1, autocast=False)
    answers, runs = [], []
    for checkpointed in (False, True):
        roles = Roles(make())
        roles.add_adapter("policy", tiny.LORA)
        if checkpointed:
            roles.checkpoint_gradients(True)
        runs.append(_runs_of_a_layer(roles))
        drawn = sampling.generate(roles, prompts, config, "policy")
        answers.append([one.token_ids for one in drawn])
    assert answers[0] == answers[1]
    assert runs[1] == 2


def _runs_of_a_layer(roles: Roles) -> int:
    """Count how often a layer runs in a training step."""
    decoder = roles.causal.get_decoder()  # type: ignore[no-untyped-call]
    layer = decoder.h[0] if hasattr(decoder, "h") else decoder.layers[0]
    seen: list[int] = []
    layer.mlp.register_forward_pre_hook(lambda *_: seen.append(1))
    (ids,) = tiny.token_ids(7)
    with roles.role("policy"):
        torch.autograd.backward(roles.hidden(torch.tensor([ids])).sum())
    return len(seen)
