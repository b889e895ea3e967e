from itertools import pairwise

import pytest

from worker.rlhf.core import schedule


@pytest.mark.parametrize("warmup", [0, 3])
def test_rate_rises_to_its_peak_and_falls_in_equal_steps_towards_zero(warmup: int) -> None:
    shares = [schedule.linear(step, 10, warmup) for step in range(11)]
    assert max(shares) == shares[warmup] == 1.0
    assert shares[-1] == 0.0
    for part in (shares[: warmup + 1], shares[warmup:]):
        steps = {round(later - earlier, 9) for earlier, later in pairwise(part)}
        assert len(steps) <= 1
    assert all(share > 0 for share in shares[:-1])
