import pytest

from app.domain.student import quantile
from app.errors import Invalid


@pytest.mark.parametrize(
    ("probability", "df", "expected"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.975, 3, 3.1824),
        (0.975, 9, 2.2622),
        (0.9995, 59, 3.4632),
        (0.975, 4095, 1.9605),
        (0.6, 5, 0.2672),
    ],
)
def test_quantiles_are_those_of_the_tables(probability: float, df: float, expected: float) -> None:
    assert quantile(probability, df) == pytest.approx(expected, abs=1e-4)
    assert quantile(1 - probability, df) == pytest.approx(-expected, abs=1e-4)


def test_fractional_degrees_lie_between_their_neighbors() -> None:
    assert quantile(0.975, 3) > quantile(0.975, 3.5) > quantile(0.975, 4)


def test_what_has_no_quantile_is_refused() -> None:
    with pytest.raises(Invalid, match="a probability must be above 0 and below 1, not 1"):
        quantile(1, 4)
    with pytest.raises(Invalid, match="degrees of freedom must be at least 1, not 0"):
        quantile(0.5, 0)
