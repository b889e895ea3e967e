"""A merged folder is the same model in plain transformers, in the base's own precision."""

import json
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)

from app.errors import Conflict, Invalid
from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model import models, saving
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import ChatMessage, render_prompt
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import loading_code, merged_export
from worker.training.merged_export import MergedModel
from worker.training.model_folders import base_of

PROMPT = tuple(range(20, 40))
VLLM_NEEDS = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
PEFT_READS_AN_OLD_NAME = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*")
ROUNDING = 0.1


@pytest.fixture(params=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    chosen: torch.dtype = getattr(torch, request.param)
    return chosen


@pytest.fixture
def trained(tmp_path: Path, dtype: torch.dtype) -> Roles:
    """Save a base in a precision, and a policy and a reward model trained on it in fp32."""
    whole = tiny.loaded()
    whole.model.to(dtype).save_pretrained(tmp_path / "base")  # type: ignore[arg-type]
    whole.tokenizer.save_pretrained(tmp_path / "base")
    roles = Roles(models.load(tmp_path / "base"))
    generator = torch.Generator().manual_seed(3)
    for name in ("policy", "reward"):
        roles.add_adapter(name, tiny.LORA, seed=1)
        with torch.no_grad():
            for parameter in roles.parameters_of(name):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    roles.add_head("reward", seed=1)
    saving.save_policy(roles, tmp_path / "policy")
    saving.save_reward(roles, tmp_path / "scored" / "reward")
    return roles


def export(folder: Path, target: Path) -> MergedModel:
    source = merged_export.source_of(folder, base_of, folder.name)
    return merged_export.export(source, target, lambda *_report: None)


def test_a_merged_policy_is_the_same_model_in_plain_transformers(
    trained: Roles, tmp_path: Path, dtype: torch.dtype
) -> None:
    made = export(tmp_path / "policy", tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert plain.dtype == dtype
    assert made.dtype == str(dtype).removeprefix("torch.")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    ids = torch.tensor([PROMPT])
    with trained.role("policy"), torch.no_grad():
        ours = trained.logits(trained.hidden(ids)[0]).log_softmax(-1)
    with torch.no_grad():
        theirs = plain(input_ids=ids).logits[0].float().log_softmax(-1)
    near = 1e-4 if dtype == torch.float32 else ROUNDING
    torch.testing.assert_close(theirs, ours, rtol=0, atol=near)


def test_weights_are_rounded_once_from_the_sum_in_fp32(
    trained: Roles, tmp_path: Path, dtype: torch.dtype
) -> None:
    export(tmp_path / "policy", tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    layer: Any = trained.causal.get_submodule(name)
    exact = layer.base_layer.weight.double() + layer.get_delta_weight("policy").double()
    assert torch.equal(stored[f"{name}.weight"], exact.float().to(dtype))


def test_greedy_decoding_of_plain_transformers_is_ours(trained: Roles, tmp_path: Path) -> None:
    export(tmp_path / "policy", tmp_path / "out")
    merged = models.load(tmp_path / "out")
    config = SamplingConfig(max_new_tokens=12, temperature=0.0)
    [ours] = sampling.generate(merged, [PromptItem("one", PROMPT)], config)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    written = plain.generate(input_ids=torch.tensor([PROMPT]), max_new_tokens=12, do_sample=False)[
        0, len(PROMPT) :
    ].tolist()
    assert tuple(written) == ours.token_ids


def test_the_folder_has_what_a_vllm_server_reads(trained: Roles, tmp_path: Path) -> None:
    export(tmp_path / "policy", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= VLLM_NEEDS | {"model.safetensors", "README.md"}
    assert not [name for name in names if name.startswith("adapter")]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    ends = GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    assert ends == trained.loaded.end_id


def test_a_merged_reward_model_scores_the_same(
    trained: Roles, tmp_path: Path, dtype: torch.dtype
) -> None:
    export(tmp_path / "scored", tmp_path / "out")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype="auto")
    assert plain.config.num_labels == 1
    assert plain.config.architectures == ["LlamaForSequenceClassification"]
    ids = torch.tensor([PROMPT])
    with trained.role("reward"), torch.no_grad():
        ours = trained.score("reward", trained.hidden(ids)[:, -1])
    with torch.no_grad():
        theirs = plain(input_ids=ids).logits[:, 0].float()
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.1)


def test_an_ensemble_is_refused_by_naming_its_members(trained: Roles, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "scored" / "reward", tmp_path / "scored" / "reward-2")
    with pytest.raises(Invalid, match=r"ensemble of 2 reward models.*reward-2"):
        export(tmp_path / "scored", tmp_path / "out")
    export(tmp_path / "scored" / "reward-2", tmp_path / "out")


def test_a_place_that_is_taken_is_refused(trained: Roles, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(Conflict, match="exists already"):
        export(tmp_path / "policy", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_full_disk_is_named_and_nothing_is_left(
    trained: Roles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Invalid, match=r"needs .* MiB and the disk of .* has 0.0 MiB free"):
        export(tmp_path / "policy", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_export_leaves_no_folder(
    trained: Roles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(loading_code, "section", broken)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="no space left"):
        export(tmp_path / "policy", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}[{{ m.content }}]{% endfor %}"
)
IGNORES_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% endif %}{% endfor %}"
)
PLAIN_TURNS = "{% for m in messages %}[{{ m.content }}]{% endfor %}{{ mood }}"
TEMPLATES = [None, PLAIN_TURNS, REFUSES_SYSTEM, IGNORES_SYSTEM]


@pytest.mark.parametrize(
    ("folder", "template"),
    [
        *(("policy", template) for template in TEMPLATES),
        *((folder, PLAIN_TURNS) for folder in ("scored", "out", "merged_reward", "base")),
    ],
)
@PEFT_READS_AN_OLD_NAME
def test_the_code_on_the_card_runs_as_written(
    tmp_path: Path, folder: str, template: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tiny.loaded()
    whole.tokenizer.chat_template = template
    saving.save_full(whole, tmp_path / "base")
    roles = Roles(models.load(tmp_path / "base"))
    for name in ("policy", "reward"):
        roles.add_adapter(name, tiny.LORA, seed=1)
    roles.add_head("reward", seed=1)
    saving.save_policy(roles, tmp_path / "policy")
    saving.save_reward(roles, tmp_path / "scored" / "reward")
    if folder == "out":
        export(tmp_path / "policy", tmp_path / "out")
    if folder == "merged_reward":
        export(tmp_path / "scored", tmp_path / "merged_reward")
    chat = {"arguments": {"mood": "calm"}}
    settings = {"instruction": "Answer shortly.", **roles.loaded.record, "chat": chat}
    lines = loading_code.section(tmp_path / folder, settings)
    code = "\n".join(lines).partition("```python\n")[2].partition("```")[0]
    assert "num_labels" not in code  # our own base states that there is one
    names: dict[str, Any] = {}
    with chdir(tmp_path / folder):
        exec(compile(code, "card", "exec"), names)
    turns = [ChatMessage("system", "Answer shortly."), ChatMessage("user", loading_code.QUESTION)]
    options = ChatOptions(arguments=chat["arguments"])
    assert names["text"] == render_prompt(whole.tokenizer, turns, options)
    printed = capsys.readouterr().out
    assert printed.strip() or folder in {"policy", "out", "base"}


@PEFT_READS_AN_OLD_NAME
def test_the_card_of_a_reward_model_on_anybodys_base_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tiny.loaded()
    whole.model.save_pretrained(tmp_path / "base")
    whole.tokenizer.save_pretrained(tmp_path / "base")
    roles = Roles(models.load(tmp_path / "base"))
    roles.add_adapter("reward", tiny.LORA, seed=1)
    roles.add_head("reward", seed=1)
    saving.save_reward(roles, tmp_path / "scored" / "reward")
    lines = loading_code.section(tmp_path / "scored", {})
    code = "\n".join(lines).partition("```python\n")[2].partition("```")[0]
    assert "num_labels=1" in code  # PEFT takes the two labels of the base's configuration
    with chdir(tmp_path / "scored"):
        exec(compile(code, "card", "exec"), {})
    ids = [
        n
        for part in (
            "User: How do I renew a book?\n\nAssistant:",
            loading_code.RESPONSE,
            "</s>",
        )
        for n in AutoTokenizer.from_pretrained(tmp_path / "base")(part, add_special_tokens=False)[
            "input_ids"
        ]
    ]
    with roles.role("reward"), torch.no_grad():
        ours = roles.score("reward", roles.hidden(torch.tensor([ids]))[:, -1])
    assert float(capsys.readouterr().out.strip()) == pytest.approx(ours.item(), abs=1e-5)
