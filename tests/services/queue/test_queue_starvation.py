"""Nothing starves: when labelers walk away, every comparison still gets its judgments, and soon."""

import pytest

from tests.services.queue import walking_away

CLAIMS_MOST = 1.05


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_comparison_reaches_k_when_a_tenth_walks_away(any_url: str, seed: int) -> None:
    worked = walking_away.label(any_url, seed)
    assert (worked.unfinished, worked.waiting, worked.expired) == (0, 0, walking_away.WALK_AWAY)
    assert worked.claims <= CLAIMS_MOST * worked.fewest
