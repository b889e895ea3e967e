"""What is said of a model before anything is built on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from transformers import CONFIG_MAPPING, AutoConfig, LlamaForCausalLM, MistralConfig, T5Config
from typer.testing import CliRunner

from app.domain.lora import Lora
from app.errors import Invalid
from tests.worker import stored_models
from tests.worker.rlhf import tiny
from tests.worker.runs import small
from tests.worker.runs.small import save_tiny_t5
from worker.commands import models as command
from worker.rlhf.model import models, soundness
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.model.soundness import UnsoundFiles
from worker.rlhf.sampling import cache_probe
from worker.training import adapter_shape, model_check, model_facts, model_sources

SYSTEM = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + SYSTEM
)
IGNORES_SYSTEM = (
    "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}{% endfor %}"
)
THINKS = SYSTEM + "{% if enable_thinking %}<think>{% endif %}"


GATE = "model.layers.0.mlp.gate_proj.weight"


def stored(folder: Path, model_type: str, **settings: Any) -> Path:
    """Write a model of a type at its usual size, without taking room for the weights."""
    make: Any = CONFIG_MAPPING[model_type]
    config = make(**settings)
    config.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    stored_models.write_weights(folder, config)
    return folder


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    LlamaForCausalLM(tiny.tiny_config()).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_sizes_are_those_of_the_model_and_of_its_adapter(llama: Path) -> None:
    found = model_check.check(str(llama))
    roles = Roles(models.load(llama))
    roles.add_adapter("policy")
    whole = [p for name, p in roles.causal.named_parameters() if ".lora_" not in name]
    assert found.refusal is None
    assert found.parameters == sum(p.numel() for p in whole)
    adapter = sum(p.numel() for p in roles.parameters_of("policy"))
    assert found.trainable_parameters == adapter
    assert found.trainable_share == pytest.approx(adapter / found.parameters)
    assert found.bytes_needed == 4 * found.parameters + 3 * 16 * adapter
    assert found.bytes_here > 0
    assert (found.ends, found.context_tokens) == ({str(tiny.EOS): "</s>"}, 256)
    assert found.sampling["engine"] == "fused"
    assert found.packing["is_exact"]
    assert found.shared_prompts["is_exact"]


def test_the_result_is_plain_json(llama: Path) -> None:
    found = json.loads(json.dumps(model_check.check(str(llama)).to_json()))
    assert found["model_type"] == "llama"
    assert found["refusal"] is None
    assert 0.0 < found["trainable_share"] < 1.0


def test_a_large_model_is_checked_without_its_weights(tmp_path: Path) -> None:
    found = model_check.check(str(stored(tmp_path, "mistral")))
    assert found.refusal is None
    assert found.parameters == 7_241_732_096
    assert found.packing["window"] == found.shared_prompts["window"] == 4096
    assert MistralConfig().sliding_window == 4096


@pytest.mark.parametrize(
    ("model_type", "layers", "settings"),
    [
        ("t5", ("q", "v"), {"decoder_start_token_id": 0, "d_model": 768, "num_heads": 12}),
        ("bart", ("q_proj", "v_proj"), {}),
    ],
)
def test_an_encoder_decoder_is_tried_in_small(
    tmp_path: Path, model_type: str, layers: tuple[str, ...], settings: dict[str, int]
) -> None:
    folder = stored(tmp_path, model_type, **settings)
    config: Any = AutoConfig.from_pretrained(folder)
    found = model_check.check(str(folder))
    assert found.refusal is None
    assert found.trained_layers == layers
    pairs = 3 * 2 * config.num_hidden_layers  # two self-attentions and a cross-attention
    inner = config.num_heads * config.d_kv if model_type == "t5" else config.hidden_size
    width = config.hidden_size + inner
    assert found.trainable_parameters == pairs * LoraSettings().r * width
    assert not found.plain_reward
    assert "Its encoder reads the prompt." in " ".join(found.notes)


def test_an_encoder_decoder_as_it_is_saved_can_be_used(tmp_path: Path) -> None:
    found = model_check.check(str(save_tiny_t5(tmp_path)))
    assert found.refusal is None
    assert not found.packing["is_exact"]
    assert found.shared_prompts["is_exact"]


def test_a_decoder_without_a_start_token_is_refused(tmp_path: Path) -> None:
    refusal = model_check.check(str(stored(tmp_path, "t5"))).refusal
    assert refusal is not None
    assert "has no decoder_start_token_id, so responses cannot begin" in refusal


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert model_check.check(f"{tmp_path}/none").refusal == f"there is no folder {tmp_path}/none"


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    assert model_check.check(str(tmp_path)).refusal == (
        f"the folder {tmp_path} has no config.json; it is not a model"
    )


def test_an_adapter_leads_to_its_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    refusal = model_check.check(str(tmp_path)).refusal
    assert refusal is not None
    assert "is an adapter; check the base model" in refusal


def test_weights_in_another_format_are_refused_before_they_are_read(llama: Path) -> None:
    (llama / "model.safetensors").rename(llama / "pytorch_model.bin")
    refusal = model_check.check(str(llama)).refusal
    assert refusal is not None
    assert "has no *.safetensors file" in refusal


def _with_more_tokens(folder: Path) -> None:
    more = tiny.tokenizer()
    more.add_tokens(["<a>", "<b>"])
    more.save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (stored_models.cut, "a file of its weights is damaged or was not copied whole"),
        (lambda at: stored_models.without(at, GATE), f"its files lack the weight {GATE}"),
        (
            lambda at: stored_models.with_value(at, GATE, float("nan")),
            f"its files hold values that are no finite numbers in the weight {GATE}",
        ),
        (
            lambda at: stored_models.with_value(at, GATE, float("inf")),
            f"its files hold values that are no finite numbers in the weight {GATE}",
        ),
        (
            lambda at: stored_models.configure(at, "config.json", intermediate_size=64),
            "its files give another shape than config.json to the weights",
        ),
        (_with_more_tokens, "its tokenizer has 2 tokens without an embedding, from '<a>'"),
        (
            lambda at: stored_models.configure(
                at, "config.json", quantization_config={"quant_method": "gptq", "bits": 4}
            ),
            "the weights of this one are stored in a quantized form (gptq)",
        ),
    ],
)
def test_faulty_files_are_refused_by_the_check_and_by_runs(
    llama: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(llama)
    refusal = model_check.check(str(llama)).refusal
    assert refusal is not None
    assert "'llama'" in refusal
    assert reason in refusal
    with pytest.raises(Invalid) as refused:
        model_sources.load(str(llama))
    assert reason in str(refused.value)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16, torch.float32])
def test_values_are_looked_at_in_every_precision(dtype: torch.dtype) -> None:
    soundness.refuse_not_finite([("w", torch.ones(4).to(dtype))])
    with pytest.raises(UnsoundFiles, match="in the weight w"):
        soundness.refuse_not_finite([("w", torch.tensor([1.0, float("nan")]).to(dtype))])


def test_a_padding_token_that_was_added_later_needs_no_embedding(llama: Path) -> None:
    more = tiny.tokenizer()
    more.add_special_tokens({"pad_token": "[PAD]"})
    more.save_pretrained(llama)
    assert model_check.check(str(llama)).refusal is None
    models.load(llama)


def test_files_that_no_run_could_use_are_named(llama: Path) -> None:
    stored_models.configure(
        llama, "tokenizer_config.json", chat_template="{{ messages | nofilter }}"
    )
    refusal = model_check.check(str(llama)).refusal or ""
    assert "its chat template fails on a single question: No filter named 'nofilter'" in refusal
    for file in llama.glob("*token*"):
        file.unlink()
    assert "no tokenizer can be read in the folder" in (model_check.check(str(llama)).refusal or "")
    stored_models.configure(
        *(llama, "config.json"), model_type="own", auto_map={"AutoConfig": "own.Config"}
    )
    (llama / "own.py").write_text("raise SystemExit('this code must not run')")
    assert "brings its own code" in (model_check.check(str(llama)).refusal or "")


def test_an_unknown_type_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "homemade"}')
    refusal = model_check.check(str(tmp_path)).refusal
    assert refusal is not None
    assert "homemade" in refusal
    assert "\n" not in refusal


@pytest.mark.parametrize("model_type", ["qwen2_vl", "modernbert"])
def test_runs_refuse_a_type_before_they_load_weights(model_type: str, tmp_path: Path) -> None:
    stored(tmp_path, model_type)
    with pytest.raises(ValueError, match=f"models of type '{model_type}'"):
        models.load(tmp_path)


def test_runs_refuse_a_base_that_cannot_be_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_model: object) -> None:
        raise ValueError("models of type 'odd' cannot be sampled")

    roles = Roles(tiny.loaded())
    model_check.guard(roles, "x")
    monkeypatch.setattr(cache_probe, "choose", refuse)
    with pytest.raises(Invalid, match="the model x cannot be used: models of type 'odd' cannot be"):
        model_check.guard(roles, "x")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, (False, False, False)),
        (SYSTEM, (True, True, False)),
        (NO_SYSTEM, (True, False, False)),
        (IGNORES_SYSTEM, (True, False, False)),
        (THINKS, (True, True, True)),
    ],
    ids=["none", "system", "no system", "ignored", "thinking"],
)
def test_the_chat_template_is_described(
    template: str | None, expected: tuple[bool, bool, bool]
) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    config = CONFIG_MAPPING["llama"]()
    found = model_facts.reading(config, tokenizer)["template"]
    assert (found["exists"], found["system"], found["thinking"]) == expected


def run(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["models", "check", *map(str, arguments)])
    return done.exit_code, done.stdout


def test_an_encoder_decoder_is_checked_as_it_is_trained(tmp_path: Path) -> None:
    name = str(small.save_tiny_t5(tmp_path / "t5"))
    found = model_check.check(name)
    roles = Roles(models.load(name))
    roles.add_adapter("policy", adapter_shape.of(Lora(LoraSettings().r), roles))
    assert found.refusal is None
    assert found.architecture == "T5ForConditionalGeneration"
    assert found.trained_layers == ("q", "v")
    assert found.trainable_parameters == sum(p.numel() for p in roles.parameters_of("policy"))
    assert found.parameters > found.trainable_parameters
    assert (found.packing["is_exact"], found.shared_prompts["is_exact"]) == (False, True)
    assert not any("no classifier" in note for note in found.notes)


def test_the_command_prints_a_fact_per_line(llama: Path) -> None:
    status, text = run(llama)
    assert status == 0
    assert "Type:" in text
    assert "llama (LlamaForCausalLM)" in text
    assert "It has no chat template" in text


def test_the_command_prints_one_object_and_ends_with_one_if_refused(tmp_path: Path) -> None:
    T5Config().save_pretrained(tmp_path)
    status, text = run(stored(tmp_path, "modernbert"), "--json")
    assert status == 1
    assert "modernbert" in json.loads(text)["refusal"]
