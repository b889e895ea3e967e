import pytest

from app.domain.step_counts import StepCount, count_steps
from app.errors import Invalid


def test_reward_model_example() -> None:
    assert count_steps(3000, 64, 30) == StepCount(per_epoch=47, total=1410)


def test_policy_example() -> None:
    assert count_steps(2000, 64, 10) == StepCount(per_epoch=32, total=320)


def test_full_batches_leave_no_short_one() -> None:
    assert count_steps(128, 64, 3) == StepCount(2, 6)


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_nothing_to_do_is_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(Invalid, match="must be at least 1, not 0"):
        count_steps(*arguments)
