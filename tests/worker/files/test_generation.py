"""`generate`: results in the prompts' order, the same after an interruption, read back."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import formats
from app.formats.records import CompletionsRecord
from tests.worker.files import material
from tests.worker.files.material import error, ok
from worker.commands import watching
from worker.files import generation
from worker.rlhf.core.examples import SampledCompletion
from worker.rlhf.sampling import continuous_batching

SHORT = ("--max-new-tokens", 6)


def test_every_prompt_has_its_answers_in_order(sft: Path, tmp_path: Path) -> None:
    data = material.prompts(tmp_path / "q.jsonl")
    out = tmp_path / "out.jsonl"
    ok("generate", data, "-m", sft, "-o", out, *SHORT, "-n", 3)
    found = list(formats.read([out.read_bytes()]))
    assert all(isinstance(one, CompletionsRecord) for one in found)
    assert [one.source_id for one in found if isinstance(one, CompletionsRecord)] == [
        f"q{n}" for n in range(12)
    ]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(len({one["text"] for one in row["completions"]}) == 3 for row in rows)
    assert all(0 < one["tokens"] <= 6 for row in rows for one in row["completions"])
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    assert (manifest["answered"], manifest["sampling"]["n"]) == (12, 3)


def test_vertex_rows_hold_inputs_and_a_prediction_each(sft: Path, tmp_path: Path) -> None:
    data = material.prompts(tmp_path / "q.jsonl", 3)
    out = tmp_path / "out.jsonl"
    vertex = ("--output-format", "vertex", "-n", 2, "--instruction", "Be short.")
    ok("generate", data, "-m", sft, "-o", out, *SHORT, *vertex)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 6
    assert rows[0].keys() == {"inputs", "prediction"}
    assert rows[0]["inputs"] == {"inputs_pretokenized": "Be short.\n\nWhat is 0?"}
    assert formats.detect(out.read_bytes().splitlines()) == "vertex-results"


def test_an_answer_does_not_depend_on_what_is_asked_beside_it(sft: Path, tmp_path: Path) -> None:
    many, few = tmp_path / "many.jsonl", tmp_path / "few.jsonl"
    ok("generate", material.prompts(tmp_path / "q12.jsonl", 12), "-m", sft, "-o", many, *SHORT)
    ok("generate", material.prompts(tmp_path / "q2.jsonl", 2), "-m", sft, "-o", few, *SHORT)
    texts = [
        [json.loads(line)["completions"][0]["text"] for line in path.read_text().splitlines()]
        for path in (many, few)
    ]
    assert texts[0][:2] == texts[1]


def test_an_interrupted_run_writes_what_the_other_would_have(
    sft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "CHUNK_PROMPTS", 4)
    data = material.prompts(tmp_path / "q.jsonl")

    def command(name: str) -> tuple[object, ...]:
        return ("generate", data, "-m", sft, "-o", tmp_path / name, *SHORT, "-n", 2, "--json")

    ok(*command("whole.jsonl"))
    show = watching.Watching.progress

    def press(self: watching.Watching, done: int, total: int, note: str) -> None:
        show(self, done, total, note)
        if done == 4:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(watching.Watching, "progress", press)
        assert material.attune(*command("parts.jsonl")).exit_code == watching.INTERRUPTED
    waiting = tmp_path / "parts.jsonl.partial"
    with waiting.open("ab") as file:
        file.write(b'{"messages": [{"role"')  # a kill in the middle of a line
    done = json.loads(ok(*command("parts.jsonl")).stdout.splitlines()[-1])
    assert (done["resumed_at"], done["prompts"]) == (4, 12)
    assert not waiting.exists()
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    again = json.loads(ok(*command("parts.jsonl")).stdout.splitlines()[-1])
    assert again["resumed_at"] == 12
    assert "sampling.temperature 1.0, not 0.5" in error(
        *command("parts.jsonl"), "--temperature", 0.5
    )


def test_both_engines_write_the_same_answers_and_each_goes_on_for_the_other(
    sft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = material.prompts(tmp_path / "q.jsonl", 5)
    used: list[int] = []
    draw = continuous_batching.generate

    def counted(*given: Any) -> Iterator[SampledCompletion]:
        used.append(len(given[1]))
        return draw(*given)

    monkeypatch.setattr(continuous_batching, "generate", counted)
    command = ("generate", data, "-m", sft, *SHORT, "-n", 2)
    ok(*command, "-o", tmp_path / "static.jsonl")
    assert used == []
    ok(*command, "-o", tmp_path / "continuous.jsonl", "--engine", "continuous")
    assert used == [5]
    said = [
        [(one["text"], one["tokens"]) for row in lines(path) for one in row["completions"]]
        for path in (tmp_path / "static.jsonl", tmp_path / "continuous.jsonl")
    ]
    assert said[0] == said[1]
    again = ok(*command, "-o", tmp_path / "static.jsonl", "--engine", "continuous", "--json")
    assert json.loads(again.stdout.splitlines()[-1])["resumed_at"] == 5


def test_an_engine_that_is_not_there_is_refused_with_those_that_are(
    sft: Path, tmp_path: Path
) -> None:
    data = material.prompts(tmp_path / "q.jsonl", 2)
    result = material.attune(
        "generate", data, "-m", sft, "-o", tmp_path / "out.jsonl", "--engine", "steam"
    )
    assert result.exit_code == 2
    words = " ".join(result.output.replace("│", " ").split())
    assert "'steam' is not one of 'static', 'continuous'" in words


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_results_of_somebody_are_not_overwritten(sft: Path, tmp_path: Path) -> None:
    data = material.prompts(tmp_path / "q.jsonl", 2)
    out = material.write(tmp_path / "out.jsonl", [{"precious": 1}])
    assert "already exists" in error("generate", data, "-m", sft, "-o", out, *SHORT)
    assert "precious" in out.read_text()


def test_a_prompt_that_leaves_no_room_is_named_by_its_line(sft: Path, tmp_path: Path) -> None:
    data = material.write(tmp_path / "q.jsonl", [{"prompt": "short"}, {"prompt": "long " * 60}])
    command = ("generate", data, "-m", sft, "-o", tmp_path / "out.jsonl", *SHORT)
    assert "line 2: the prompt has" in error(*command)
    done = json.loads(ok(*command, "--skip-bad", "--json").stdout.splitlines()[-1])
    assert (done["prompts"], done["bad_rows"]) == (1, 1)
