"""A random model and small files of rows, for commands that need nothing else."""

import json
from collections.abc import Iterable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from app.cli.main import app
from tests.worker.runs.small import save_tiny_llama
from worker.training import reward_loading

__all__ = ["save_tiny_llama"]

runner = CliRunner()
SMALL = ("--batch-size", "8", "--set", "lora.r=2", "--set", "sampling.max_new_tokens=6")


def write(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def demonstrations(path: Path, count: int = 40) -> Path:
    return write(
        path, ({"prompt": f"What is {n}?", "completion": f"It is {n * n}."} for n in range(count))
    )


def preferences(path: Path, count: int = 40) -> Path:
    return write(
        path,
        (
            {"prompt": f"What is {n}?", "chosen": f"It is {n * n}, I think.", "rejected": "no"}
            for n in range(count)
        ),
    )


def ratings(path: Path, count: int = 40) -> Path:
    """Write rows of the rich export: two labelers rate two completions on two criteria."""
    return write(
        path,
        (
            {
                "kind": "rate",
                "weights": {"clear": 3, "kind": 1},
                "context": [{"role": "user", "content": f"What is {n}?"}],
                "completions": [{"text": f"It is {n * n}."}, {"text": "no"}],
                "individual_preference": [
                    {"labeler": name, "ranking": [1, 2], "ratings": {"clear": clear, "kind": kind}}
                    for name, clear, kind in (("a", [5, 1], [n % 5 + 1, 2]), ("b", [4, 2], [3, 3]))
                ],
            }
            for n in range(count)
        ),
    )


def thumbs(path: Path, count: int = 40) -> Path:
    """Write rows of the unpaired export: two completions of each prompt, a good and a bad one."""
    return write(
        path,
        (
            {"prompt": f"What is {n}?", "completion": text, "label": label}
            for n in range(count)
            for text, label in ((f"It is {n * n}.", True), ("no", False))
        ),
    )


def prompts(path: Path, count: int = 12) -> Path:
    return write(path, ({"id": f"q{n}", "prompt": f"What is {n}?"} for n in range(count)))


def attune(*arguments: object) -> Result:
    """Run a command in this process; errors of the product come back as they were raised."""
    return runner.invoke(app, [str(one) for one in arguments])


def ok(*arguments: object) -> Result:
    result = attune(*arguments)
    assert result.exception is None, (result.output, result.exception)
    return result


def error(*arguments: object) -> str:
    result = attune(*arguments)
    assert result.exception is not None, result.output
    return str(result.exception)


def score_by_card(folder: Path, turns: list[dict[str, str]], response: str) -> float:
    """Run the loading code of a reward model's card as it is written, in its folder."""
    code = (folder / reward_loading.CARD).read_text(encoding="utf-8").split("```")[1]
    names: dict[str, Any] = {}
    with chdir(folder):
        exec(code.removeprefix("python"), names)
        score: float = names["score"](turns, response)
    return score
