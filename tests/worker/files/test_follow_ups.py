"""MT-Bench prompts from the command line: second turns are generated, judged and trained."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from tests.worker.files import material
from tests.worker.files.material import error, ok
from tests.worker.rlhf.chat_models import FAMILIES
from worker.files import rows
from worker.files.source import Source

SMALL = (*material.SMALL, "--max-steps", 2, "--heldout-share", 0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a model whose template has no system turn, and refuses two user turns in a row."""
    folder = tmp_path_factory.mktemp("alternating")
    loaded = FAMILIES["alternating"].loaded()
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def questions(path: Path, count: int = 6) -> Path:
    return material.write(
        path,
        (
            {"question_id": n, "category": "math", "turns": [f"What is {n}?", "Are you sure?"]}
            for n in range(count)
        ),
    )


def pairs(path: Path, count: int = 12) -> Path:
    """Write conversations as the trl-explicit export does: with a first response each."""

    def said(*texts: str) -> list[dict[str, str]]:
        roles = ("assistant", "user", "assistant")
        return [{"role": r, "content": text} for r, text in zip(roles, texts, strict=True)]

    return material.write(
        path,
        (
            {
                "prompt": [{"role": "user", "content": f"What is {n}?"}],
                "chosen": said(f"It is {n}.", "Are you sure?", "Yes, I am sure."),
                "rejected": said("no", "Are you sure?", "no"),
            }
            for n in range(count)
        ),
    )


def generated(base: Path, data: Path, out: Path, *more: object) -> list[dict[str, Any]]:
    ok("generate", data, "-m", base, "-o", out, "--max-new-tokens", 4, "-n", 2, *more)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_the_second_turn_is_generated_after_each_own_first_response(
    base: Path, tmp_path: Path
) -> None:
    data, out = questions(tmp_path / "q.jsonl"), tmp_path / "out.jsonl"
    lines = generated(base, data, out, "--instruction", "Be brief.")
    assert [line["id"] for line in lines] == [str(n) for n in range(6)]
    firsts = [[one["earlier"][0]["content"] for one in line["completions"]] for line in lines]
    assert any(first != second for first, second in firsts)
    for line in lines:
        assert [turn["role"] for turn in line["messages"]] == ["user"]
        earlier = [completion["earlier"] for completion in line["completions"]]
        assert [turns[1]["content"] for turns in earlier] == ["Are you sure?"] * 2
    asked, _ = rows.prompts(Source(out))
    assert {prompt.follow_up for prompt in asked} == {("Are you sure?",)}
    direct, _ = rows.prompts(Source(data))
    assert [prompt.key for prompt in asked] == [prompt.key for prompt in direct]


def test_a_format_of_one_turn_refuses_second_turns(base: Path, tmp_path: Path) -> None:
    data = questions(tmp_path / "q.jsonl")
    command = ("generate", data, "-m", base, "-o", tmp_path / "out.jsonl", "--output-format")
    message = error(*command, "vertex")
    assert "line 1: a file of Vertex results holds one turn; the prompt has a follow-up" in message


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
def test_rewards_and_policies_are_trained_on_second_turns(base: Path, tmp_path: Path) -> None:
    judged, reward = pairs(tmp_path / "pairs.jsonl"), tmp_path / "reward"
    ok("train", "reward", judged, "-m", base, "-o", reward, *material.SMALL)
    held_out = [
        json.loads(line)
        for line in (reward / "model" / "heldout_scores.jsonl").read_text().splitlines()
    ]
    assert all(len(row["earlier"]) == len(row["texts"]) == 2 for row in held_out)
    data, policy = questions(tmp_path / "q.jsonl"), tmp_path / "policy"
    shown = ok(
        *("train", "policy", data, "-m", base, "--reward", reward, "-o", policy, *SMALL)
    ).output
    assert "6 of 6 training prompts have follow-ups: the policy learns" in " ".join(shown.split())
    AutoModelForCausalLM.from_pretrained(policy / "model")
    ok("train", "dpo", judged, "-m", base, "-o", tmp_path / "dpo", *SMALL)
    AutoModelForCausalLM.from_pretrained(tmp_path / "dpo" / "model")
