"""`train` from plain files: models that load elsewhere, runs gone on with, clear errors."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.domain.plan import RoundPlan
from tests.worker.files import material
from tests.worker.files.material import SMALL, error, ok
from worker import artifacts
from worker.commands import watching
from worker.files import models
from worker.files.rows import JudgedRow
from worker.files.source import Source
from worker.files.training_request import TrainingRequest
from worker.rlhf.core.examples import PreferencePair, PromptItem
from worker.rlhf.model import models as rlhf_models
from worker.rlhf.model import precision, saving
from worker.rlhf.reward import reward_report
from worker.rlhf.reward.reward_report import ScoredPrompt
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training.model_folders import TRAINING

WEIGHTS = saving.ADAPTER_FILE


def card(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "model" / TRAINING).read_text())
    return found


def weights(out: Path, file: str = WEIGHTS) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / file)


def policy(base: Path, reward: Path, data: Path, out: Path, *more: object) -> tuple[object, ...]:
    head = ("train", "policy", data, "-m", base, "-r", reward, "-o", out, "--max-new-tokens", 6)
    return (*head, "--batch-size", 8, "--max-steps", 3, "--set", "evaluate_every=2", *more)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # of PEFT, renamed meanwhile
def test_an_adapter_trained_here_answers_in_plain_peft_as_it_does_here(
    sft: Path, base: Path
) -> None:
    peft = pytest.importorskip("peft")
    assert artifacts.verify(sft / "model")
    tokenizer = AutoTokenizer.from_pretrained(sft / "model")
    plain = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), str(sft / "model")
    )
    ids = tokenizer("What is 3?")["input_ids"]
    wanted = plain.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=5, pad_token_id=0)[
        0, len(ids) :
    ]
    opened = models.open_model(str(sft), "cpu")
    config = SamplingConfig(temperature=0.0, max_new_tokens=5)
    (ours,) = sampling.generate(opened.roles, [PromptItem("q", tuple(ids))], config, opened.role)
    assert ours.token_ids == tuple(wanted.tolist())


def test_the_card_says_what_went_in_and_the_curves_lie_beside_it(sft: Path, base: Path) -> None:
    found = card(sft)
    assert found["parents"] == {"model": str(base)}
    assert [one["file"] for one in found["data"]] == ["demonstrations.jsonl"]
    assert found["metrics"]["rows"] + found["metrics"]["heldout_rows"] == 40
    assert found["settings"]["ends"] == [{"id": 2, "token": "</s>"}]
    assert found["metrics"]["heldout/loss"] > 0
    assert list((sft / "model" / "tensorboard").iterdir())
    assert not (sft / "work").exists()


def test_a_starter_is_built_from_the_demonstrations_own_words(tmp_path: Path) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl")
    small = ("--set", "starter.width=16", "--set", "starter.layers=1", "--set", "starter.heads=2")
    sizes = (*small, "--set", "starter.vocabulary=300", "--batch-size", 16, "--epochs", 1)
    ok("train", "sft", data, "-m", "starter", "-o", tmp_path / "out", *sizes)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert model.config.hidden_size == 16


def test_a_reward_model_is_measured_and_scaled(reward: Path) -> None:
    found = card(reward)
    assert found["metrics"]["heldout"]["pairs"] == found["metrics"]["heldout_rows"] > 0
    searched = found["metrics"]["rate_search"]
    assert searched["rate"] == found["settings"]["training"]["learning_rate"]
    assert searched["sentence"] in (reward / "model" / "README.md").read_text()
    (scale,) = found["settings"]["normaliser"]["members"]
    assert scale[1] > 0
    lines = (reward / "model" / "heldout_scores.jsonl").read_text().splitlines()
    assert len(lines) == found["metrics"]["heldout_rows"]


def test_a_reward_model_learns_ratings_by_criterion(sft: Path, tmp_path: Path) -> None:
    data = material.ratings(tmp_path / "rich.jsonl")
    ok("train", "reward", data, "-m", sft, "-o", tmp_path / "out", *SMALL, "--epochs", 1)
    found = card(tmp_path / "out")
    learned = found["settings"]["training"]["criteria"]
    assert [(one["name"], one["weight"]) for one in learned] == [("clear", 3.0), ("kind", 1.0)]
    reports = {one["criterion"]: one for one in found["metrics"]["ratings"]}
    assert reports["clear"]["ratings"] == 2 * found["metrics"]["heldout_rows"] > 0
    models.add_reward(models.open_model(str(sft), "cpu").roles, str(tmp_path / "out"))


def test_a_reward_model_learns_from_thumbs_alone(sft: Path, tmp_path: Path) -> None:
    data = material.thumbs(tmp_path / "unpaired.jsonl")
    out = tmp_path / "out"
    more = ("--epochs", 4, "--set", "learning_rate=0.003")
    ok("train", "reward", data, "-m", sft, "-o", out, *SMALL, *more)
    found = card(out)
    assert found["metrics"]["rows"] + found["metrics"]["heldout_rows"] == 80
    assert found["metrics"]["heldout"]["pairs"] == found["metrics"]["heldout_rows"] > 0
    lines = (out / "model" / "heldout_scores.jsonl").read_text().splitlines()
    scores = [(row["texts"][0] == "no", row["scores"][0]) for row in map(json.loads, lines)]
    assert max(s for is_bad, s in scores if is_bad) < min(s for is_bad, s in scores if not is_bad)
    assert "holds no judged comparisons" in error(
        "train", "dpo", data, "-m", sft, "-o", tmp_path / "other"
    )


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "best-of-n"])
def test_a_policy_is_trained_by_each_algorithm(
    algorithm: str, sft: Path, reward: Path, tmp_path: Path
) -> None:
    data = material.prompts(tmp_path / "q.jsonl")
    out = tmp_path / "out"
    last = ("--heldout-share", 0)  # without held-out prompts the last weights are kept
    ok(*policy(sft, reward, data, out, "--algorithm", algorithm, *last))
    assert card(out)["settings"]["algorithm"] == algorithm
    start, end = weights(sft), weights(out)
    assert start.keys() == end.keys()
    assert any(not torch.equal(start[name], end[name]) for name in start)


@pytest.mark.parametrize(("more", "steps"), [((), 3), (("--set", "prompts=7"), 1)])
def test_every_prompt_of_a_file_is_trained_on_unless_a_number_is_given(
    more: tuple[str, ...], steps: int, sft: Path, reward: Path, tmp_path: Path
) -> None:
    data, out = material.prompts(tmp_path / "q.jsonl", 2001), tmp_path / "out"
    sizes = ("--batch-size", 1000, "--heldout-share", 0, "--max-new-tokens", 1, "--epochs", 1)
    ok("train", "policy", data, "-m", sft, "-r", reward, "-o", out, *sizes, *more)
    assert card(out)["settings"]["training"]["steps"] == steps


def test_pairs_are_reported_by_their_own_sources(sft: Path) -> None:
    texts = ("a", "b", "c")
    turns = ({"role": "user", "content": "Which?"},)
    row = JudgedRow(
        1,
        "k",
        turns,
        texts,
        ("x", "y", "z"),
        (PreferencePair(0, 1, 1.0), PreferencePair(0, 2, 1.0)),
    )
    request = TrainingRequest("reward", str(sft), Source(sft), RoundPlan())
    (ranking,) = request.rankings([row], models.open_model(str(sft), "cpu").roles)
    scored = ScoredPrompt(ranking, (2.0, 1.0, 0.0))
    found = reward_report.report([ranking], [scored]).to_json()
    said = json.dumps(found)
    assert "x / y" in said
    assert "x / z" in said
    assert "x / y / z" not in said


@pytest.mark.parametrize("setting", ["weighing=votes", 'labelers=[{"labeler": "a", "weight": 2}]'])
def test_weights_of_people_are_refused_where_there_is_no_project(
    setting: str, sft: Path, tmp_path: Path
) -> None:
    data = material.preferences(tmp_path / "p.jsonl")
    said = error("train", "reward", data, "-m", sft, "-o", tmp_path / "out", "--set", setting)
    assert said.startswith(f"reward.{setting.partition('=')[0]}")
    assert "project" in said


def test_dpo_needs_no_reward_model(sft: Path, tmp_path: Path) -> None:
    data = material.preferences(tmp_path / "p.jsonl")
    ok("train", "dpo", data, "-m", sft, "-o", tmp_path / "out", "--beta", 0.2)
    found = card(tmp_path / "out")
    assert found["settings"]["training"]["beta"] == 0.2
    assert 0 <= found["metrics"]["heldout/accuracy"] <= 1


def test_json_says_every_step_and_the_end(base: Path, tmp_path: Path) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 16)
    out = tmp_path / "out"
    result = ok("train", "sft", data, "-m", base, "-o", out, *SMALL, "--epochs", 2, "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["step"] for one in events[:-1]] == [1, 2, 3, 4, 4]
    assert all("loss" in one["metrics"] for one in events[:4])
    assert events[4]["metrics"].keys() == {"heldout/loss"}
    assert events[-1]["event"] == "done"
    assert Path(events[-1]["model"]) == out / "model"


def test_an_interrupted_run_goes_on_to_the_same_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 24)

    def command(name: str) -> tuple[object, ...]:
        return ("train", "sft", data, "-m", base, "-o", tmp_path / name, *SMALL, "--epochs", 2)

    ok(*command("whole"))
    show = watching.Watching.step

    def press(self: watching.Watching, step: int, metrics: dict[str, float]) -> None:
        show(self, step, metrics)
        if step == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(watching.Watching, "step", press)
        stopped = material.attune(*command("parts"))
    assert stopped.exit_code == watching.INTERRUPTED
    assert "at step 2. The same command continues" in stopped.output.replace("\n", " ")
    assert not (tmp_path / "parts" / "model").exists()
    assert "Continuing after step 2" in ok(*command("parts")).output
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_run_goes_on_to_the_same_weights(base: Path, tmp_path: Path) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 24)

    def command(name: str) -> list[str]:
        more = (*SMALL, "--epochs", 2, "--save-every", 1, "--device", "cpu", "--json")
        words = ("train", "sft", data, "-m", base, "-o", tmp_path / name, *more)
        return [str(word) for word in words]

    ok(*command("whole"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", *command("parts")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("step") == 3:
            process.send_signal(signal.SIGKILL)  # the state of step 2 is whole, that of 3 perhaps
            break
    process.wait()
    process.stdout.close()
    steps = [json.loads(line).get("step") for line in ok(*command("parts")).stdout.splitlines()]
    assert steps[0] in {3, 4, 5}
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_command_again_says_that_it_is_done_and_another_is_refused(
    sft: Path, base: Path
) -> None:
    data = sft.parent / "demonstrations.jsonl"
    same = ("train", "sft", data, "-m", base, "-o", sft, *SMALL)
    before = (sft / "model" / WEIGHTS).stat().st_mtime_ns
    assert "is already trained" in ok(*same).output
    assert (sft / "model" / WEIGHTS).stat().st_mtime_ns == before
    said = error(*same, "--epochs", 9)
    assert "plan.sft.epochs 3, not 9" in said
    assert "--restart" in said


def test_a_run_that_never_began_binds_nobody(base: Path, tmp_path: Path) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 8)
    out = tmp_path / "out"
    assert "cannot be loaded" in error("train", "sft", data, "-m", tmp_path / "no", "-o", out)
    ok("train", "sft", data, "-m", base, "-o", out, *SMALL)


def test_two_processes_never_share_a_folder(base: Path, tmp_path: Path) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 8)
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process is writing to" in error(
            "train", "sft", data, "-m", base, "-o", out, *SMALL
        )


def test_somebodys_folder_is_not_written_into(base: Path, tmp_path: Path) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 8)
    said = error("train", "sft", data, "-m", base, "-o", tmp_path, *SMALL, "--restart")
    assert "holds d.jsonl; a run needs a new or empty folder" in said
    assert data.exists()


def test_what_cannot_work_is_said_in_a_sentence(
    sft: Path, reward: Path, base: Path, tmp_path: Path
) -> None:
    data = material.prompts(tmp_path / "q.jsonl")
    out = tmp_path / "out"
    assert "is a reward model" in error("generate", data, "-m", reward, "-o", out)
    assert "cannot be loaded" in error("generate", data, "-m", tmp_path, "-o", out)
    assert "ppo, rloo, best-of-n, not 'sarsa'" in error(
        *policy(sft, reward, data, out, "--algorithm", "sarsa")
    )
    assert "it must be a reward model trained by attune" in error(*policy(sft, base, data, out))
    assert "is not a reward model" in error(*policy(sft, sft, data, out))
    demonstrations = material.demonstrations(tmp_path / "d.jsonl", 8)
    assert "needs a whole model" in error(
        *("train", "sft", demonstrations, "-m", sft, "-o", tmp_path / "other", "--full")
    )


@pytest.mark.parametrize(
    "command",
    [("train", "sft"), ("train", "reward"), ("train", "dpo"), ("train", "policy"), ("generate",)],
)
def test_without_bitsandbytes_four_bits_are_refused_with_what_to_install(
    command: tuple[str, ...], sft: Path, tmp_path: Path, no_bitsandbytes: None
) -> None:
    last = command[-1]
    made = {"sft": material.demonstrations, "reward": material.ratings, "dpo": material.preferences}
    data = made.get(last, material.prompts)(tmp_path / "data.jsonl")
    more = ("-r", sft) if last == "policy" else ()  # it is not come to
    out = tmp_path / "out"
    assert "needs bitsandbytes, which is not installed: pip install bitsandbytes" in error(
        *command, data, "-m", sft, "-o", out, *more, "--four-bit"
    )
    assert not (out / "model").exists()


def test_four_bits_are_for_adapters(base: Path, tmp_path: Path) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 8)
    command = ("train", "sft", data, "-o", tmp_path / "out", "--four-bit", "-m")
    assert "cannot be trained in full" in error(*command, base, "--full")
    assert "a starter is trained in full; in 4 bits only adapters" in error(*command, "starter")


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_an_adapter_is_trained_over_a_base_in_four_bits_and_answers_over_it(
    base: Path, tmp_path: Path
) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 16)
    out = tmp_path / "out"
    ok("train", "sft", data, "-m", base, "-o", out, *SMALL, "--four-bit")
    run = json.loads((out / "run.json").read_text())
    assert run["plan"]["four_bit"]
    assert rlhf_models.is_quantized(models.open_model(str(out), "cpu", four_bit=True).roles.causal)
    asked = ("generate", material.prompts(tmp_path / "q.jsonl", 2), "-m", out, "--four-bit")
    results = tmp_path / "answers.jsonl"
    ok(*asked, "-o", results, "--max-new-tokens", 4)
    assert "four_bit True, not False" in error(*asked[:-1], "-o", results, "--max-new-tokens", 4)


@pytest.fixture
def no_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rlhf_models, "find_spec", lambda _name: None)


def test_a_reward_model_over_another_base_is_refused(
    reward: Path, base: Path, tmp_path: Path
) -> None:
    other = material.save_tiny_llama(tmp_path / "other")
    data = material.prompts(tmp_path / "q.jsonl")
    said = error(*policy(other, reward, data, tmp_path / "out"))
    assert f"is {base}, that of the policy" in said
    assert str(other) in said


def in_two_processes(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli.main", *map(str, command), "--processes", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_processes_train_one_model_of_which_each_holds_a_part(
    base: Path, tmp_path: Path
) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 24)

    def command(name: str) -> tuple[object, ...]:
        rate = ("--learning-rate", 2e-4)  # small, so that differences in rounding stay small
        parts = ("--full", "--parallel", "sharded", "--save-every", 1, *rate)
        more = (*SMALL, "--epochs", 2, "--device", "cpu", "--json")
        return ("train", "sft", data, "-m", base, "-o", tmp_path / name, *more, *parts)

    both = in_two_processes(*command("both"))
    assert both.returncode == 0, both.stderr[-2000:]
    steps = [json.loads(line)["event"] for line in both.stdout.splitlines()]
    assert steps.count("done") == 1  # the first process alone speaks
    ok(*command("alone"))
    one, other = (weights(tmp_path / name, "model.safetensors") for name in ("alone", "both"))
    assert one.keys() == other.keys()
    # In bf16, rounding turns the sign of a few tiny gradients, and with it Adam's first steps.
    same = [torch.isclose(one[name], other[name], atol=1e-5).flatten() for name in one]
    assert float(torch.cat(same).float().mean()) > 0.98
    refused = in_two_processes(*command("both/model"))
    assert refused.returncode == 1
    assert "a run needs a new or empty folder" in refused.stderr


@pytest.mark.slow  # two more processes with torch, for a line that the first of them prints
def test_two_processes_say_once_that_a_model_was_there(base: Path, sft: Path) -> None:
    data = sft.parent / "demonstrations.jsonl"
    again = in_two_processes("train", "sft", data, "-m", base, "-o", sft, *SMALL, "--json")
    assert json.loads(again.stdout)["was_there"] is True


def test_gradient_checkpointing_learns_the_same(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_held", SimpleNamespace(bf16=False))  # fp32 rounds less
    data = material.demonstrations(tmp_path / "d.jsonl", 16)
    for name, more in (("plain", ()), ("less", ("--checkpoint-gradients",))):
        ok("train", "sft", data, "-m", base, "-o", tmp_path / name, *SMALL, "--epochs", 1, *more)
    assert card(tmp_path / "less")["settings"] == card(tmp_path / "plain")["settings"]
    losses = [card(tmp_path / name)["metrics"]["heldout/loss"] for name in ("plain", "less")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_prompts_without_room_are_counted_and_named(
    sft: Path, reward: Path, tmp_path: Path
) -> None:
    data = material.prompts(tmp_path / "q.jsonl", 8)
    with data.open("a") as file:
        file.write(json.dumps({"prompt": "long " * 3000}) + "\n")
    result = ok(*policy(sft, reward, data, tmp_path / "out", "--heldout-share", 0))
    assert "1 training prompts leave no room for 6 new tokens" in result.output
    assert card(tmp_path / "out")["metrics"]["prompts_without_room"] == 1
