"""Policies rewarded by other models than the one they were trained with, from the command line."""

import re
from pathlib import Path
from typing import Any

import pytest

from app.errors import Invalid
from tests.worker import published
from tests.worker.files import material
from tests.worker.files.material import SMALL, error, ok
from tests.worker.files.test_train import card
from worker.commands.reward_options import parts_of

LENGTH = "length:longest=4,weight=0.5"


def train(model: Path, data: Path, out: Path, *more: object) -> tuple[object, ...]:
    head = ("train", "policy", data, "-m", model, "-o", out, "--max-new-tokens", 6)
    return (*head, "--batch-size", 8, "--max-steps", 2, *more)


@pytest.mark.parametrize("has_same_base", [True, False])
def test_two_reward_models_and_a_rule_reward_a_policy_with_safety_first(
    has_same_base: bool, sft: Path, reward: Path, tmp_path: Path
) -> None:
    data, out = material.prompts(tmp_path / "q.jsonl"), tmp_path / "out"
    helpful = published.save(tmp_path / "helpful")
    parts = (
        ("--reward-part", f"reward_model:name=helpfulness,model={helpful}"),
        ("--reward-part", f"reward_model:name=safety,model={reward}"),
        ("--reward-part", LENGTH),
    )
    model = sft if has_same_base else material.save_tiny_llama(tmp_path / "other")
    options = [option for part in parts for option in part]
    ok(*train(model, data, out, *options, "--safety", "safety"))
    found = card(out)
    record = found["settings"]["reward"]
    assert [len(part.get("scale", [])) for part in record["parts"]] == [2, 2, 0]
    assert len(record["choice_scale"]) == 2
    names = {"helpfulness", "safety", "length-3"}
    assert {name for name in found["metrics"] if name.startswith("reward/part/")} == {
        f"reward/part/{name}" for name in names
    }
    assert 0.0 <= found["metrics"]["reward/share/judged-by-safety"] <= 1.0


def test_prompts_with_a_safety_tag_are_judged_by_safety_alone(
    sft: Path, reward: Path, tmp_path: Path
) -> None:
    rows = ({"prompt": f"What is {n}?", "tags": ["red team"]} for n in range(8))
    data, out = material.write(tmp_path / "q.jsonl", rows), tmp_path / "out"
    helpful = ("--reward-part", f"reward_model:name=kind,model={published.save(tmp_path / 'h')}")
    safe = ("--reward-part", f"reward_model:name=safe,model={reward}", "--safety", "safe")
    tags = ("--set", "reward.safety_threshold=0", "--set", 'reward.safety_tags=["red team"]')
    ok(*train(sft, data, out, *helpful, *safe, *tags))
    assert card(out)["metrics"]["reward/share/judged-by-safety"] == 1.0


def test_rewards_of_the_command_are_added_to_the_reward_model(
    sft: Path, reward: Path, tmp_path: Path
) -> None:
    data, out = material.prompts(tmp_path / "q.jsonl"), tmp_path / "out"
    ok(*train(sft, data, out, "-r", reward, "--reward-part", LENGTH))
    metrics = card(out)["metrics"]
    whole = metrics["reward/part/learned"] + 0.5 * metrics["reward/part/length-1"]
    assert metrics["reward/normalised"] == pytest.approx(whole, abs=1e-5)


def test_a_policy_without_any_reward_is_refused(sft: Path, tmp_path: Path) -> None:
    data = material.prompts(tmp_path / "q.jsonl")
    message = error(*train(sft, data, tmp_path / "out"))
    assert "--reward FOLDER, or at least one --reward-part" in message


def test_a_model_without_a_trained_head_is_refused_before_training(
    sft: Path, base: Path, tmp_path: Path
) -> None:
    data = material.prompts(tmp_path / "q.jsonl")
    causal = ("--reward-part", f"reward_model:name=a,model={base}")
    message = error(*train(sft, data, tmp_path / "out", *causal))
    assert "the reward model reward 'a' cannot be used" in message
    assert "no classification head" in re.sub(r"\s+", " ", message)


def test_a_reward_model_stops_after_the_steps_it_is_given(sft: Path, tmp_path: Path) -> None:
    data, out = material.preferences(tmp_path / "p.jsonl"), tmp_path / "out"
    ok("train", "reward", data, "-m", sft, "-o", out, *SMALL, "--max-steps", 2)
    metrics = card(out)["metrics"]
    assert metrics["steps"] == 2
    assert metrics["stop_reason"] == "steps: all 2 done"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("length:longest=9", {"kind": "length", "longest": 9}),
        (
            "classifier:model=a/b,label=not hate,weight=-0.5,reads-prompt=true",
            {
                "kind": "classifier",
                "model": "a/b",
                "label": "not hate",
                "weight": -0.5,
                "reads_prompt": True,
            },
        ),
        ("format:pattern=^a{1,,3}=b$", {"kind": "format", "pattern": "^a{1,3}=b$"}),
        (
            "endpoint:url=http://h:1/x,at_least=0",
            {"kind": "endpoint", "url": "http://h:1/x", "at_least": 0.0},
        ),
    ],
)
def test_a_reward_is_read_from_an_option(text: str, expected: dict[str, Any]) -> None:
    assert parts_of([text]) == [expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("oracle:model=a", r"begins with its kind \(classifier, reward_model, endpoint"),
        ("length:tallest=3", "'tallest=3' in 'length:tallest=3' is no setting=value"),
        ("length:longest", "is no setting=value"),
        ("length:longest=many", "longest in 'length:longest=many' must be a number, not 'many'"),
        ("classifier:model=a,reads_prompt=1", "must be true or false, not '1'"),
    ],
)
def test_an_option_that_is_no_reward_is_refused_with_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        parts_of([text])
