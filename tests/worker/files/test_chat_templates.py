"""Rows that a chat template refuses: an error with the line, or skipped and counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.worker.files import material
from tests.worker.files.material import error, ok
from tests.worker.rlhf.chat_models import FAMILIES

TWICE = [{"role": "user", "content": "Why?"}, {"role": "user", "content": "Why not?"}]
AFTER = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Why?"}]
SHORT = ("--max-new-tokens", 4)


@pytest.fixture(scope="session")
def alternating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a model whose template refuses system turns, and two user turns in a row."""
    return save("alternating", tmp_path_factory.mktemp("alternating"))


def save(name: str, folder: Path) -> Path:
    loaded = FAMILIES[name].loaded()
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def test_a_prompt_that_the_template_refuses_has_its_line(alternating: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": "Why?"}, {"prompt": AFTER}, {"prompt": "How?"}]
    data, out = material.write(tmp_path / "q.jsonl", rows), tmp_path / "out.jsonl"
    command = ("generate", data, "-m", alternating, "-o", out, *SHORT)
    message = error(*command)
    assert "line 2: the model's chat template refuses the prompt (turns must alternate" in message
    outcome = ok(*command, "--skip-bad", "--json").stdout.splitlines()[-1]
    assert json.loads(outcome)["bad_rows"] == 1
    assert len(out.read_text().splitlines()) == 2


def test_a_row_that_cannot_be_trained_on_has_its_line(alternating: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"What is {n}?", "completion": "It is."} for n in range(20)
    ]
    data = material.write(tmp_path / "d.jsonl", [*rows, {"messages": TWICE, "completion": "So."}])
    small = (*material.SMALL, "--max-steps", 1, "--heldout-share", 0)
    command = ("train", "sft", data, "-m", alternating, "-o", tmp_path / "out", *small)
    assert "line 21: the model's chat template refuses the prompt" in error(*command)
    shown = ok(*command, "--skip-bad").output
    assert "1 rows of d.jsonl left out, because the model's chat template refuses them" in shown
    card = json.loads((tmp_path / "out" / "model" / "training.json").read_text())
    assert (card["metrics"]["rows"], card["metrics"]["bad_rows"]) == (20, 1)
    assert [end["token"] for end in card["settings"]["ends"]] == ["<end_of_turn>", "</s>"]


def test_options_of_the_template_are_read_recorded_and_hold_for_every_row(
    alternating: Path, tmp_path: Path
) -> None:
    data = material.write(tmp_path / "q.jsonl", [{"prompt": "Why?"}])
    refusing = ("--instruction", "Be brief.", "--system-turns", "refuse")
    command = ("generate", data, "-m", alternating, "-o", tmp_path / "out.jsonl", *SHORT)
    assert "has no system turn (no system turn here)" in error(*command, *refusing)
    ok(*command, "--instruction", "Be brief.")
    thinking = save("thinking", tmp_path / "thinking")
    out = tmp_path / "thought.jsonl"
    argument = ("--template-argument", "enable_thinking=false", "--thought-end", "</think>")
    ok("generate", data, "-m", thinking, "-o", out, *SHORT, *argument)
    manifest = json.loads((tmp_path / "thought.jsonl.manifest.json").read_text())
    assert manifest["chat"]["template_arguments"] == {"enable_thinking": False}
    wrong = error(*command, "--restart", "--template-argument", "enable_thinking")
    assert "a template argument is name=value, not 'enable_thinking'" in wrong
