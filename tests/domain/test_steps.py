import pytest

from app.domain.steps import Steps, steps
from app.errors import Invalid


def test_reward_model_example() -> None:
    assert steps(3000, 64, 30) == Steps(per_epoch=47, total=1410)


def test_policy_example() -> None:
    assert steps(2000, 64, 10) == Steps(per_epoch=32, total=320)


def test_full_batches_leave_no_short_one() -> None:
    assert steps(128, 64, 3) == Steps(2, 6)


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_nothing_to_do_is_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(Invalid, match="must be at least 1, not 0"):
        steps(*arguments)
