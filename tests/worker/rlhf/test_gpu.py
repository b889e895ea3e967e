"""What only a GPU shows: bf16 weights, its own kernels, its own memory for the paged cache."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from worker.rlhf.core.examples import SampledCompletion, TokenizedDemonstration
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.policy import ppo
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.sampling import decoding, engines, sampling
from worker.rlhf.sampling.engines import EnginePrompt
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig

DEVICE = "cuda"
FP32 = 1e-3
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

DEMONSTRATIONS = [TokenizedDemonstration(*tiny.token_ids(4, 3 + n, seed=n)) for n in range(8)]
SFT = SftConfig(batch_size=4, epochs=8, learning_rate=1e-2, lora=tiny.LORA)
PPO = PpoConfig(steps=4, episodes=8, max_new_tokens=12, lora=tiny.LORA, autocast=False)
DRAWING = SamplingConfig(n=3, max_new_tokens=24, seed=5, batch_size=12)


@pytest.fixture(autouse=True)
def _plain_fp32() -> Iterator[None]:
    """Multiply fp32 as fp32: TF32 would round enough to change tokens."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model that often ends early; its width suits packing in 4 bits."""
    made = tmp_path_factory.mktemp("model")
    config = tiny.tiny_config()
    config.hidden_size, config.head_dim, config.intermediate_size = 64, 16, 128
    saved = tiny.loaded(config=config)
    with torch.no_grad():
        saved.model.get_output_embeddings().weight[tiny.EOS] *= 2.5  # type: ignore[no-untyped-call]
    saved.model.save_pretrained(made)
    saved.tokenizer.save_pretrained(made)
    return made


def roles_on(folder: Path, device: str = DEVICE, dtype: torch.dtype = torch.float32) -> Roles:
    made = Roles(models.load(folder, device=device, dtype=dtype))
    made.add_adapter("policy", tiny.LORA)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters_of("policy"):
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter) * 0.05)
    return made


def drawn(
    roles: Roles, name: engines.EngineName = "static"
) -> dict[tuple[str, int], SampledCompletion]:
    items = [EnginePrompt(item.key, item.prompt_ids) for item in prompts(12)]
    engine = engines.in_memory(name, roles, "policy")
    return {(each.prompt_key, each.sample_index): each for each in engine.generate(items, DRAWING)}


def tokens(
    found: dict[tuple[str, int], SampledCompletion],
) -> dict[tuple[str, int], tuple[int, ...]]:
    return {key: each.token_ids for key, each in found.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_in_bf16_learn_and_leave_the_base_as_it_was(folder: Path, dtype: torch.dtype) -> None:
    roles = Roles(models.load(folder, device=DEVICE, dtype=dtype))
    before = [each.clone() for each in roles.parameters_of(BASE)]
    reports = list(
        finetuning.train(roles, DEMONSTRATIONS, replace(SFT, autocast=True), TrainingState())
    )
    assert reports[-1].metrics["loss"] < 0.8 * reports[0].metrics["loss"]
    assert {each.dtype for each in roles.parameters_of("sft")} == {torch.float32}
    assert all(map(torch.equal, roles.parameters_of(BASE), before))


def test_a_gpu_draws_what_a_processor_draws(folder: Path) -> None:
    here, there = tokens(drawn(roles_on(folder))), tokens(drawn(roles_on(folder, "cpu")))
    same = sum(here[key] == there[key] for key in there)
    assert same >= len(there) - 1, "rounding may move one token in thousands"


def test_both_decoding_engines_draw_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = roles_on(folder)
    assert decoding.can_fuse(roles.causal)
    fused = tokens(drawn(roles))
    monkeypatch.setattr(decoding, "can_fuse", lambda _model: False)
    assert tokens(drawn(roles)) == fused


def test_continuous_batching_draws_what_the_static_engine_draws(folder: Path) -> None:
    roles = roles_on(folder)
    static, moving = drawn(roles), drawn(roles, "continuous")
    assert tokens(static) == tokens(moving)
    for key, expected in static.items():
        torch.testing.assert_close(
            torch.tensor(moving[key].logprobs),
            torch.tensor(expected.logprobs),
            rtol=FP32,
            atol=FP32,
        )


def test_a_resumed_run_continues_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    whole, parted = TrainingState(), TrainingState()
    figures = [each.metrics["loss/policy"] for each in _practice(folder, whole)]
    list(islice(_practice(folder, parted), 2))
    parted.save(tmp_path)
    resumed = TrainingState()
    resumed.restore(tmp_path)
    rest = [each.metrics["loss/policy"] for each in _practice(folder, resumed)]
    assert rest == pytest.approx(figures[2:], rel=FP32, abs=FP32)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_adapters_learn_over_4_bits_on_a_gpu(folder: Path) -> None:
    roles = Roles(models.load(folder, device=DEVICE, dtype=torch.bfloat16, four_bit=True))
    reports = list(finetuning.train(roles, DEMONSTRATIONS, SFT, TrainingState()))
    assert reports[-1].metrics["loss"] < 0.8 * reports[0].metrics["loss"]
    assert list(sampling.generate(roles, prompts(3), DRAWING, "sft"))


def _practice(folder: Path, state: TrainingState) -> Iterator[StepReport]:
    roles = Roles(models.load(folder, device=DEVICE, dtype=torch.float32))
    ppo.prepare(roles, PPO, reward=None)
    return ppo.train(roles, prompts(8), [], LikesOneSide(), PPO, state)
