"""The process of one job."""

import subprocess
import sys

import pytest

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
