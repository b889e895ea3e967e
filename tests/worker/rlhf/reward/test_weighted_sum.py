from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

from worker.rlhf.reward.scoring import Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.weighted_sum import WeightedReward, WeightedSum

BRANCHES = [Branches([1], [[2], [3]])]


@dataclass(frozen=True)
class Constant:
    raw: float
    normalized: float
    spread: float | None = None

    def score(self, branches: Sequence[Branches]) -> Scores:
        count = sum(len(each.completions) for each in branches)

        def full(value: float) -> torch.Tensor:
            return torch.full((count,), value)

        spread = None if self.spread is None else full(self.spread)
        return Scores(full(self.raw), full(self.normalized), spread)


class Silent:
    def score(self, branches: Sequence[Branches]) -> Scores:
        raise AssertionError(f"scored {len(branches)} prompts")


def test_a_sum_adds_each_part_on_its_own_scale_times_its_weight() -> None:
    both = WeightedSum(
        (
            WeightedReward("a", 2.0, Constant(10.0, 1.0, 0.5)),
            WeightedReward("b", -1.0, Constant(3.0, 0.25)),
        )
    )
    found = both.score(BRANCHES)
    assert found.raw.tolist() == [17.0, 17.0]
    assert found.normalized.tolist() == [1.75, 1.75]
    assert found.spread is not None
    assert found.spread.tolist() == [1.0, 1.0]
    assert {name: part.tolist() for name, part in found.parts.items()} == {
        "a": [1.0, 1.0],
        "b": [0.25, 0.25],
    }


def test_one_part_alone_is_that_reward() -> None:
    found = WeightedSum((WeightedReward("b", 1.0, Constant(3.0, 0.25)),)).score(BRANCHES)
    assert found.normalized.tolist() == [0.25, 0.25]
    assert found.spread is None


def test_a_part_that_weighs_nothing_watches() -> None:
    watching = WeightedReward("a", 0.0, Constant(10.0, 1.0, 0.5))
    found = WeightedSum((watching, WeightedReward("b", 1.0, Constant(3.0, 0.25)))).score(BRANCHES)
    assert found.raw.tolist() == [3.0, 3.0]
    assert found.normalized.tolist() == [0.25, 0.25]
    assert found.parts["a"].tolist() == [1.0, 1.0]
    assert found.spread is not None
    assert found.spread.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("floor", "expected"), [(1.0, 0.0), (1.5, -1.0), (0.0, 0.0)])
def test_above_its_floor_a_part_adds_nothing_and_below_it_the_shortfall(
    floor: float, expected: float
) -> None:
    part = WeightedReward("a", 2.0, Constant(10.0, 1.0), floor)
    whole = WeightedSum((part, WeightedReward("b", 1.0, Constant(3.0, 0.25))))
    found = whole.score(BRANCHES)
    assert found.normalized.tolist() == [0.25 + expected] * 2
    assert found.parts["a"].tolist() == [1.0, 1.0]


def test_a_sum_of_nothing_and_a_name_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        WeightedSum((WeightedReward("a", 0.0, Silent()),))
    with pytest.raises(ValueError, match="different names"):
        WeightedSum((WeightedReward("a", 1.0, Silent()), WeightedReward("a", 1.0, Silent())))
