"""The import contracts hold, and each one breaks when a violation is planted."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Contract by its name in pyproject.toml -> (file, the import that breaks it).
PLANTED = {
    "The web side flows down": ("app/client.py", "import app.demo"),
    "Web, services, models, database, domain": (
        "app/services/people/audit.py",
        "import app.web.deps",
    ),
    "The worker flows down": ("worker/artifacts.py", "import worker.supervisor"),
    "The product runs without torch and without the worker": ("app/logs.py", "import torch"),
    "Services: the rooms flow down": (
        "app/services/people/audit.py",
        "import app.services.project.projects",
    ),
    "What may end a round's labeling goes through rounds.judging_flow": (
        "app/web/api/labeling.py",
        "import app.services.judging.labeling",
    ),
    "The learning core: the rooms flow down": (
        "worker/rlhf/core/losses.py",
        "import worker.rlhf.policy.ppo",
    ),
    "Training from files needs no database and no web framework": (
        "worker/training/token_ids.py",
        "import app.db.base",
    ),
    "The check of a model loads no training, so that it takes seconds": (
        "worker/training/model_folders.py",
        "import worker.training.model_card",
    ),
    "The learning core stands alone": ("worker/rlhf/policy/kl.py", "import app.errors"),
    "The client stands alone": ("attune/types.py", "import app.errors"),
    "The client flows down": ("attune/errors.py", "import attune.server"),
    "The worker knows nothing of HTTP": ("worker/artifacts.py", "import app.web.render"),
    "Only entry points read settings": ("app/services/people/audit.py", "import app.settings"),
    "Celery is named in one module of the product": (
        "app/services/people/audit.py",
        "import celery",
    ),
    "Services do not import each other in circles": (
        "app/services/people/audit.py",
        "import app.services.people.accounts",
    ),
}


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).parent / "lint-imports"
    return subprocess.run(
        [linter, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for path in (ROOT / "app", ROOT / "worker", ROOT / "client" / "attune"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(path, folder / path.name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_every_contract_holds(copy: Path) -> None:
    found = _lint(copy)
    assert found.returncode == 0, found.stdout[-3000:]
    assert all(f"{name} KEPT" in found.stdout for name in PLANTED), found.stdout


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_breaks_the_contract(copy: Path, name: str) -> None:
    path, line = PLANTED[name]
    file = copy / path
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(f"{before}\n{line}\n", encoding="utf-8")
        found = _lint(copy)
    finally:
        file.write_text(before, encoding="utf-8")
    assert f"{name} BROKEN" in found.stdout, found.stdout
