"""The proof itself: that it holds for some algorithms here, and that it can fail."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.worker.rlhf import killed_runs
from worker.rlhf.core.training_state import TrainingState

ROOT = Path(__file__).parents[3]
WITHOUT_MOMENTS = """
from worker.rlhf.core import training_state
training_state._fill_optimizer = lambda *_: None
"""


def proof(*arguments: str, planted: str = "") -> subprocess.CompletedProcess[str]:
    """Run the proof in a fresh interpreter: a fork here would find the tests' threads."""
    code = f"{planted}\nimport sys\nfrom tests.worker.rlhf import kill_proof\n"
    code += f"sys.exit(kill_proof.main({list(arguments)!r}))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_killed_runs_end_with_the_weights_of_undisturbed_runs() -> None:
    done = proof("--kills", "3", "reward", "rloo", "dpo")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["reward", "rloo", "dpo"]
    assert all(" 3 kills" in line and "the same" in line for line in lines)


@pytest.mark.parametrize("algorithm", killed_runs.ALGORITHMS)
def test_a_run_killed_after_its_last_step_has_its_weights_again(
    algorithm: str, tmp_path: Path
) -> None:
    begin = killed_runs.ALGORITHMS[algorithm]
    state = TrainingState()
    whole = begin(state)
    for _ in whole.loop:
        pass
    state.save(tmp_path)
    state = TrainingState()
    state.restore(tmp_path)
    again = begin(state)
    assert list(again.loop) == []
    expected, found = whole.weights(), again.weights()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.slow
def test_a_run_that_loses_its_optimizer_state_is_noticed() -> None:
    done = proof("--kills", "1", "sft", planted=WITHOUT_MOMENTS)
    assert done.returncode == 1
    assert "NOT THE SAME" in done.stdout
