"""One process against two that really are two, connected by gloo."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from tests.worker.rlhf.both import LOOPS
from tests.worker.rlhf.launched import together
from worker.rlhf.core import parallel
from worker.rlhf.core.parallel import Team

pytestmark = pytest.mark.xdist_group("two processes")  # one runner needs what they found

FP64 = 1e-9
HOW = {"together": "alone", "divided": "alone with own code"}
"""Two processes with the whole base each, and two with a half; and what one does in that way."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run `both` in two processes and read what the first wrote."""
    out = tmp_path_factory.mktemp("both") / "found.json"
    ended = together(["tests.worker.rlhf.both", str(out)], 2)
    assert [status for status, _ in ended] == [0, 0], "\n".join(output for _, output in ended)
    content: dict[str, Any] = json.loads(out.read_text())
    return content


@pytest.mark.parametrize("differences", ["differences", "divided differences"])
@pytest.mark.parametrize("loop", list(LOOPS))
def test_gradients_of_one_and_of_two_processes_agree(
    found: dict[str, Any], differences: str, loop: str
) -> None:
    assert found[differences][loop] < FP64


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("what", ["samples", "winners"])
def test_what_is_sampled_does_not_depend_on_the_split(
    found: dict[str, Any], how: str, what: str
) -> None:
    assert found[how][what] == found[HOW[how]][what]


@pytest.mark.parametrize("how", HOW)
def test_scores_come_back_in_the_order_of_the_branches(found: dict[str, Any], how: str) -> None:
    assert found[how]["scores"] == pytest.approx(found[HOW[how]]["scores"], abs=FP64)


@pytest.mark.parametrize("how", HOW)
def test_whole_steps_report_the_same_figures(found: dict[str, Any], how: str) -> None:
    together, alone = found[how]["figures"], found[HOW[how]]["figures"]
    assert len(together) == len(alone) == 2
    for one, two in zip(together, alone, strict=True):
        assert one == pytest.approx(two, abs=1e-6)


def test_weights_stay_equal_without_being_sent(found: dict[str, Any]) -> None:
    first, second = found["weights"]
    assert first == second
    assert first == pytest.approx(found["alone"]["weights"], abs=1e-6)


@pytest.mark.parametrize("which", ["trained divided", "continued alone"])
def test_a_model_trained_in_parts_is_saved_whole_and_is_that_of_one_process(
    found: dict[str, Any], which: str
) -> None:
    model, expected = found[which], found["trained alone"]
    assert model.keys() == expected.keys()
    for name, weight in expected.items():
        assert model[name] == pytest.approx(weight, abs=FP64)


def test_the_first_process_need_not_have_the_first_rank_of_the_launcher(
    found: dict[str, Any],
) -> None:
    assert found["led by the second"] == [[1, 0], 1, False]


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
