from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig

FP32 = 1e-5
LORA = SftConfig(
    epochs=2, batch_size=5, learning_rate=1e-2, lora=tiny.LORA, autocast=False, row_tokens=32
)
FULL = replace(LORA, full=True, learning_rate=1e-3)


def demonstrations(count: int = 11) -> list[TokenizedDemonstration]:
    prompts = tiny.token_ids(*(2 + 3 * index % 13 for index in range(count)), seed=1)
    responses = tiny.token_ids(*(1 + 5 * index % 9 for index in range(count)), seed=2)
    return [
        TokenizedDemonstration(prompt, (*response, tiny.EOS))
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def gradients(config: SftConfig) -> tuple[float, dict[str, Tensor]]:
    roles = tiny.roles("sft")
    role = finetuning._prepare(roles, config)
    loss, _ = finetuning.accumulate(roles, role, demonstrations(), config)
    grads = {
        name: parameter.grad
        for name, parameter in roles.named_parameters_of(role).items()
        if parameter.grad is not None
    }
    return loss, grads


def run(
    roles: Roles,
    config: SftConfig,
    state: TrainingState,
    examples: Sequence[TokenizedDemonstration] = (),
) -> list[StepReport]:
    return list(finetuning.train(roles, examples or demonstrations(), config, state))


def numbers(report: StepReport) -> dict[str, float]:
    return {name: v for name, v in report.metrics.items() if not name.startswith("time/")}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "other",
    [
        {"packing": False},
        {"packing": False, "micro_tokens": 20},
        {"micro_tokens": 1},
        {"row_tokens": 1},
        {"row_tokens": 200},
    ],
)
def test_loss_and_gradients_do_not_depend_on_layout(full: bool, other: dict[str, bool]) -> None:
    config = FULL if full else LORA
    loss, grads = gradients(config)
    other_loss, other_grads = gradients(replace(config, **other))  # type: ignore[arg-type]
    assert other_loss == pytest.approx(loss, rel=FP32)
    assert grads.keys() == other_grads.keys()
    assert grads
    for name, gradient in grads.items():
        torch.testing.assert_close(other_grads[name], gradient, rtol=1e-3, atol=FP32)


def test_loss_is_the_librarys_on_responses_alone() -> None:
    roles = tiny.roles("sft")
    total, tokens = 0.0, 0
    assert isinstance(roles.causal, LlamaForCausalLM)
    with roles.role("sft"), torch.no_grad():
        for example in demonstrations():
            ids = torch.tensor([[*example.prompt_ids, *example.response_ids]])
            labels = ids.clone()
            labels[:, : len(example.prompt_ids)] = -100
            count = len(example.response_ids)
            total += float(roles.causal(input_ids=ids, labels=labels).loss) * count
            tokens += count
    loss, _ = finetuning.accumulate(roles, "sft", demonstrations(), LORA)
    assert loss == pytest.approx(total / tokens, rel=FP32)
    assert finetuning.evaluate(roles, "sft", demonstrations(), LORA) == pytest.approx(
        loss, rel=FP32
    )


def test_only_the_adapter_changes_and_the_base_stays_bit_equal(roles: Roles) -> None:
    before = {name: p.clone() for name, p in roles.causal.named_parameters()}
    heads = {name: p.clone() for name, p in roles.heads.named_parameters()}
    run(roles, LORA, TrainingState())
    changed = {
        name
        for name, p in roles.causal.named_parameters()
        if name not in before or not torch.equal(p, before[name])
    }
    assert changed
    assert all(".sft." in name for name in changed)
    assert all(torch.equal(p, heads[name]) for name, p in roles.heads.named_parameters())


def test_full_training_changes_the_base_and_no_adapter(roles: Roles) -> None:
    adapters = {name: p.clone() for name, p in roles.causal.named_parameters() if ".lora_" in name}
    base = {name: p.clone() for name, p in roles.named_parameters_of(BASE).items()}
    run(roles, FULL, TrainingState())
    now = dict(roles.causal.named_parameters())
    assert all(torch.equal(now[name], p) for name, p in adapters.items())
    assert not any(torch.equal(now[name], p) for name, p in base.items())


@pytest.mark.parametrize("config", [LORA, FULL])
def test_learns_what_it_is_shown(config: SftConfig) -> None:
    roles = Roles(tiny.loaded())
    reports = run(roles, replace(config, epochs=30, learning_rate=1e-2), TrainingState())
    assert reports[-1].metrics["loss"] < 0.4 * reports[0].metrics["loss"]
    assert reports[-1].stop_reason == "steps: all 90 done"
    assert [r.stop_reason for r in reports[:-1]] == [None] * (len(reports) - 1)
    assert len(reports) == reports[0].steps_total == 90


@pytest.mark.parametrize("config", [LORA, FULL])
@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_resumed_run_is_bit_equal(tmp_path: Path, config: SftConfig, stop_after: int) -> None:
    straight = Roles(tiny.loaded())
    expected = run(straight, config, TrainingState())

    state = TrainingState()
    for report in finetuning.train(Roles(tiny.loaded()), demonstrations(), config, state):
        if report.step == stop_after:
            state.save(tmp_path)
            break

    torch.manual_seed(99)
    resumed, state = Roles(tiny.loaded()), TrainingState()
    state.restore(tmp_path)
    found = run(resumed, config, state)
    assert [numbers(r) for r in found] == [numbers(r) for r in expected[stop_after:]]
    now = dict(resumed.causal.named_parameters())
    assert all(torch.equal(now[name], p) for name, p in straight.causal.named_parameters())


def test_autocast_changes_the_loss_a_little_and_keeps_weights_in_fp32(loaded: LoadedModel) -> None:
    exact = gradients(LORA)[0]
    rounded, grads = gradients(replace(LORA, autocast=True))
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=2e-2)
    assert {gradient.dtype for gradient in grads.values()} == {torch.float32}


def test_too_long_demonstration_is_named(roles: Roles) -> None:
    too_long = TokenizedDemonstration(*tiny.token_ids(250, 7))
    with pytest.raises(ValueError, match="demonstration 1 has 257 tokens, the model's context 256"):
        run(roles, LORA, TrainingState(), [demonstrations()[0], too_long])


def test_nothing_to_learn_from_is_refused(roles: Roles) -> None:
    with pytest.raises(ValueError, match="no demonstration"):
        next(finetuning.train(roles, [], LORA, TrainingState()))
