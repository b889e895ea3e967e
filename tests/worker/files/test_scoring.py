"""`score`: models before and after, responses of a file, and accuracy on judged pairs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from app.errors import AttuneError
from tests import judge_server
from tests.judge_server import Failure
from tests.worker import published
from tests.worker.files import material
from worker.commands import score
from worker.files import models
from worker.rlhf.reward import plain_texts

SHORT = ("--max-new-tokens", 6)


def command(*arguments: object) -> Result:
    app = typer.Typer()
    score.register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def outcome(*arguments: object) -> dict[str, Any]:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def refusal(*arguments: object) -> str:
    result = command(*arguments)
    assert isinstance(result.exception, AttuneError), result.output
    return re.sub(r"\s+", " ", str(result.exception))


def responses(path: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {
            "prompt": f"Hello {n}",
            "completions": [
                {"source": "before", "text": "Dear you" if n else "no"},
                {"source": "after", "text": "Dear all"},
            ],
        }
        for n in range(4)
    ]
    return material.write(path, rows)


def test_texts_are_read_back_exactly_from_their_bytes() -> None:
    tokenizer = plain_texts.tokenizer()
    text = "Ein “Gruß” 🙂\n\n<|im_end|> <end of text>\x00"
    ids = plain_texts.ids_of(text, tokenizer.eos_token_id)
    assert tokenizer.decode(list(ids), skip_special_tokens=True) == text


def test_models_before_and_after_are_scored_and_their_responses_kept(
    base: Path, sft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = material.prompts(tmp_path / "q.jsonl", 6), tmp_path / "out"
    toxic = published.save(tmp_path / "toxic", ("fine", "toxic"))
    asked = ("-m", base, "-m", sft, "-o", out, *SHORT)
    scorer = ("--classifier", toxic, "--label", "toxic", "--threshold", 0.5)
    found = outcome(data, *asked, *scorer)
    before, after = found["sides"]
    assert (before["n"], after["n"]) == (6, 6)
    assert 0.0 < before["mean"] < 1.0
    assert after["change"]["value"] == pytest.approx(after["mean"] - before["mean"])
    assert after["change"]["low"] <= after["change"]["value"] <= after["change"]["high"]
    rows = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert [len(row["responses"]) for row in rows] == [2] * 6
    # Another scorer takes the responses that are there.
    monkeypatch.setattr(models, "open_model", lambda *_a, **_k: pytest.fail("sampled"))
    again = outcome(data, *asked, "--rule", "length:longest=2")
    assert again["sides"][0]["n"] == 6
    assert json.loads((out / "summary.json").read_text())["sides"] == again["sides"]


def test_a_file_with_responses_of_two_models_is_compared_by_a_rule(tmp_path: Path) -> None:
    found = outcome(responses(tmp_path / "r.jsonl"), "--rule", "format:pattern=^Dear")
    assert [side["name"] for side in found["sides"]] == ["before", "after"]
    assert [side["mean"] for side in found["sides"]] == [0.75, 1.0]
    assert found["sides"][1]["change"]["value"] == 0.25


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_reward_model_is_measured_by_subset_on_judged_pairs(
    is_ours: bool, reward: Path, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "no", "subset": subset}
        for n, subset in enumerate(["chat", "chat", "safety"])
    ]
    tied = {"prompt": "What?", "chosen": "same", "rejected": "same", "subset": "safety"}
    data = material.write(tmp_path / "bench.jsonl", [*rows, tied])
    model = reward if is_ours else published.save(tmp_path / "published")
    found = outcome(data, "--reward", model)
    assert [row["subset"] for row in found["accuracy"]] == [None, "chat", "safety"]
    assert [row["n"] for row in found["accuracy"]] == [3, 2, 1]
    assert found["remarks"][0].startswith("1 left out: "), "a pair of one text tells nothing"
    shown = command(data, "--reward", model)
    assert "Chosen over rejected" in shown.stdout


def test_a_judge_scores_a_file_by_a_rubric_and_what_it_refuses_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rubric = tmp_path / "rubric.md"
    rubric.write_text("Be brief, please.\n")
    data = responses(tmp_path / "r.jsonl")
    monkeypatch.setenv("TINY_KEY", "secret")
    with judge_server.serving(failures=[Failure(400)]) as served:
        monkeypatch.setenv("ATTUNE_JUDGE_SERVERS", f"{served.url}=TINY_KEY")
        found = outcome(data, "--judge", f"url={served.url}/,model=tiny,rubric=@{rubric}")
        assert [side["n"] for side in found["sides"]] in ([3, 4], [4, 3])
        assert found["scorer"] == "judge tiny"
        assert found["remarks"][-1].startswith("1 responses have no score")
        assert served.keys == {"Bearer secret"}
        assert "Be brief, please." in served.requests[-1]["messages"][0]["content"]
        message = refusal(data, "--judge", f"url={served.url},model=tiny")
        assert "needs a rubric here: rubric=TEXT" in message
    gone = refusal(data, "--judge", "url=http://h,model=m,rubric=@missing.md")
    assert "the rubric missing.md cannot be read" in gone


def test_what_cannot_be_scored_is_refused_with_what_to_do(tmp_path: Path) -> None:
    prompts = material.prompts(tmp_path / "q.jsonl", 2)
    answers = responses(tmp_path / "r.jsonl")
    assert "--model samples responses" in refusal(prompts, "--rule", "format:pattern=a")
    assert "not none" in refusal(answers)
    assert "whose tokens count" in refusal(answers, "--rule", "length:longest=3")
    assert "name it with --output" in refusal(prompts, "-m", "x", "--rule", "format:pattern=a")
    assert "settings of a --classifier" in refusal(answers, "--reward", "x", "--label", "toxic")
    labels = published.save(tmp_path / "toxic", ("fine", "toxic"))
    assert "it has fine, toxic" in refusal(answers, "--classifier", labels, "--label", "rude")


def test_lines_that_are_not_scored_are_counted(tmp_path: Path) -> None:
    data = responses(tmp_path / "r.jsonl")
    data.write_text(data.read_text() + json.dumps({"prompt": "alone"}) + "\n")
    remarks = outcome(data, "--rule", "format:pattern=a")["remarks"]
    assert remarks == ["1 left out: the row has no 'completions'"]
