"""Training from files runs where the web side's packages are not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker.files import material

ABSENT = ("alembic", "argon2", "celery", "fastapi", "redis", "sqlalchemy", "uvicorn")
SCRIPT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

sys.meta_path.insert(0, Absent())
from app.cli.main import main
main()
"""
LEAN = f"ABSENT = {ABSENT!r}\n{SCRIPT}"
WITHOUT_TORCH = f"ABSENT = ('torch',)\n{SCRIPT}"


def run(*arguments: object, script: str = LEAN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_help_lists_every_command_though_packages_are_missing() -> None:
    shown = run("--help")
    assert shown.returncode == 0, shown.stderr
    for name in ("serve", "bench", "train", "generate", "worker"):
        assert f" {name} " in shown.stdout


@pytest.mark.parametrize("name", ["serve", "worker", "import"])
def test_a_command_without_its_packages_says_what_to_install(name: str) -> None:
    refused = run(name)
    assert refused.returncode == 1
    assert "is not installed; install attune" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_training_without_torch_names_the_extra_to_install(processes: int, tmp_path: Path) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 2)
    command = ("train", "sft", data, "-m", "starter", "-o", tmp_path / "out", "--device", "cpu")
    refused = run(*command, "--processes", processes, script=WITHOUT_TORCH)
    assert refused.returncode == 1
    assert "torch is not installed; install attune[worker]" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_model_is_trained_without_the_web_sides_packages(tmp_path: Path) -> None:
    data = material.demonstrations(tmp_path / "d.jsonl", 16)
    small = [f"starter.{name}" for name in ("width=16", "layers=1", "heads=2", "vocabulary=300")]
    settings = [word for setting in small for word in ("--set", setting)]
    trained = run(
        *("train", "sft", data, "-m", "starter", "-o", tmp_path / "out", "--device", "cpu"),
        *("--epochs", 1, *settings),
    )
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert (tmp_path / "out" / "model" / "model.safetensors").exists()
