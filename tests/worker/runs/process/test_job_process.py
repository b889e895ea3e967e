"""The process of one job."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import cast

import pytest

from app.db import Database
from worker.runs.process import job_process
from worker.runs.process.job_context import JobContext

HEAVY = ("torch", "transformers", "numpy")


@pytest.mark.parametrize("kind", ["export", "import"])
def test_a_job_that_computes_nothing_loads_nothing_to_compute_with(kind: str) -> None:
    lines = (
        "import sys",
        "from worker.runs import find",
        "from worker.runs.process import job_process",
        f"find({kind!r})",
        f"print([name for name in {HEAVY} if name in sys.modules])",
    )
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "kind", "gives_way"),
    [
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", "import", True),
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", "export", True),
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", "policy", False),
        ("sqlite://", "import", False),
        ("sqlite://", "export", False),
    ],
)
def test_rows_give_way_to_pages_except_under_a_lock_of_the_whole_database(
    url: str, kind: str, gives_way: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr(os, "nice", given.append)
    job_process.give_way(
        cast(JobContext, SimpleNamespace(kind=kind, database=Database(url, pool_size=1)))
    )
    assert bool(given) is gives_way
