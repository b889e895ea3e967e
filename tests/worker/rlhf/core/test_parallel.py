"""One process against two that really are two, connected by gloo."""

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest
import torch
from torch import nn

from worker.rlhf.core import parallel
from worker.rlhf.core.parallel import Team

pytestmark = pytest.mark.xdist_group("two processes")  # one runner needs what they found

FP64 = 1e-9
PATIENCE_S = 180.0


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run `both` in two processes and read what the first wrote."""
    out = tmp_path_factory.mktemp("both") / "found.json"
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    launched |= {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.worker.rlhf.both", str(out)]
    processes = [
        subprocess.Popen(
            command,
            env=launched | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in ("0", "1")
    ]
    outputs = [process.communicate(timeout=PATIENCE_S)[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    content: dict[str, Any] = json.loads(out.read_text())
    return content


@pytest.mark.parametrize("loop", ["sft", "reward", "dpo", "ppo", "rloo"])
def test_gradients_of_one_and_of_two_processes_agree(found: dict[str, Any], loop: str) -> None:
    assert found["differences"][loop] < FP64


@pytest.mark.parametrize("what", ["samples", "winners"])
def test_what_is_sampled_does_not_depend_on_the_split(found: dict[str, Any], what: str) -> None:
    assert found["together"][what] == found["alone"][what]


def test_scores_come_back_in_the_order_of_the_branches(found: dict[str, Any]) -> None:
    assert found["together"]["scores"] == pytest.approx(found["alone"]["scores"], abs=FP64)


def test_whole_steps_report_the_same_figures(found: dict[str, Any]) -> None:
    together, alone = found["together"]["figures"], found["alone"]["figures"]
    assert len(together) == len(alone) == 2
    for one, two in zip(together, alone, strict=True):
        assert one == pytest.approx(two, abs=1e-6)


def test_weights_stay_equal_without_being_sent(found: dict[str, Any]) -> None:
    first, second = found["weights"]
    assert first == second
    assert first == pytest.approx(found["alone"]["weights"], abs=1e-6)


def test_every_item_is_assigned_once_and_shares_have_similar_costs(found: dict[str, Any]) -> None:
    assert found["ranks"] == [0, 1]
    assert found["shares"] == [[1, 2, 4], [0, 3]]


def test_a_process_without_a_launcher_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not parallel.is_launched()
    team = Team.launched()
    assert (team.size, team.is_first, team.device) == (1, True, None)
    assert team.share([3, 1, 2]) == [0, 1, 2]
    assert team.gather(["a"]) == ["a"]
    assert team.once(lambda: 5) == 5
    team.sum_gradients([nn.Parameter(torch.zeros(2))])


def test_gradients_are_added_up_in_bounded_runs_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "BUCKET", 5)
    sizes = [(2, torch.float32), (3, torch.float32), (1, torch.float32), (1, torch.float64)]
    weights = [nn.Parameter(torch.zeros(size, dtype=dtype)) for size, dtype in sizes]
    assert [len(bucket) for bucket in parallel._buckets(weights)] == [2, 1, 1]
