import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.measures import Interval, Undefined, share, wilson
from app.errors import Invalid


def test_wilson_of_a_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81 of 263.
    found = wilson(81, 263)
    assert isinstance(found, Interval)
    assert found.low == pytest.approx(0.2553, abs=5e-5)
    assert found.high == pytest.approx(0.3662, abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share_and_mirrors(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    found, mirror = wilson(successes, trials), wilson(trials - successes, trials)
    assert isinstance(found, Interval)
    assert isinstance(mirror, Interval)
    assert 0 <= found.low <= successes / trials <= found.high <= 1
    assert found.low == pytest.approx(1 - mirror.high)


def test_nothing_counted_is_undefined() -> None:
    assert share(0, 0, "nobody voted").value == Undefined("nobody voted")
    assert isinstance(wilson(0, 0), Undefined)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(Invalid, match="successes must be 0 to 3, not 4"):
        wilson(4, 3)
