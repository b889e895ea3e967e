import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.measures import Undefined
from app.domain.noise_ceiling import Levels, levels
from app.errors import Invalid

shares = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def exact_ceiling(qs: list[float]) -> float:
    return sum(max(q, 1 - q) for q in qs) / len(qs)


@given(shares)
def test_ceiling_lies_in_the_band(qs: list[float]) -> None:
    agreement = sum(q * q + (1 - q) * (1 - q) for q in qs) / len(qs)
    found = levels(min(1.0, max(0.5, agreement)))
    exact = exact_ceiling(qs)
    assert isinstance(found, Levels)
    # A square root near zero turns a rounding error of 1e-16 into 1e-8.
    assert found.ceiling_low - 1e-7 <= exact <= found.ceiling_high + 1e-7


@given(st.floats(0, 1))
def test_band_is_reached_at_both_ends(q: float) -> None:
    same = levels(q * q + (1 - q) * (1 - q) if q not in (0, 1) else 1.0)
    if isinstance(same, Levels):
        assert same.ceiling_high == pytest.approx(max(q, 1 - q), abs=1e-7)


def test_coin_or_certain_pairs_reach_the_lower_end() -> None:
    found = levels(0.75)
    assert isinstance(found, Levels)
    assert found.ceiling_low == exact_ceiling([1.0, 0.5]) == found.human


def test_below_one_half_there_is_no_ceiling() -> None:
    assert isinstance(levels(0.49), Undefined)
    assert isinstance(levels(0.5), Levels)


def test_undefined_stays_undefined() -> None:
    assert levels(Undefined("nobody voted")) == Undefined("nobody voted")


def test_agreement_is_a_share() -> None:
    with pytest.raises(Invalid, match=r"0 to 1, not 1\.2"):
        levels(1.2)
