"""Quantiles of Student's t distribution, for intervals from few clusters."""

from math import cos, expm1, pi, sin, sqrt
from statistics import NormalDist

from app.errors import Invalid


def quantile(probability: float, df: float) -> float:
    """Return the quantile of Student's t with ``df`` degrees of freedom, which may be fractional.

    Hill's asymptotic expansion (1970, Communications of the ACM, Algorithm 396), with the closed
    forms for one and two degrees. The relative error is below 0.01 % from two degrees on and below
    6 % between one and two. Raises Invalid for a probability outside (0, 1) and below one degree.
    """
    if not 0 < probability < 1:
        raise Invalid(f"a probability must be above 0 and below 1, not {probability}")
    if df < 1:
        raise Invalid(f"degrees of freedom must be at least 1, not {df}")
    if probability < 0.5:
        return -quantile(1 - probability, df)
    tails = 2 * (1 - probability)
    if df == 1:
        return cos(tails * pi / 2) / sin(tails * pi / 2)
    if df == 2:
        return sqrt(2 / (tails * (2 - tails)) - 2)
    return _hill(tails, df)


def _hill(tails: float, df: float) -> float:
    a = 1 / (df - 0.5)
    b = (48 / a) / a
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * sqrt(a * pi / 2) * df
    y = (d * tails) ** (2 / df)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(tails / 2)
        y = x * x
        if df < 5:
            c += 0.3 * (df - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = a * y * y
        y = expm1(y) if y > 0.002 else y + y * y / 2
    else:
        y = (
            (1 / (((df + 6) / (df * y) - 0.089 * d - 0.822) * (df + 2) * 3) + 0.5 / (df + 4)) * y
            - 1
        ) * (df + 1) / (df + 2) + 1 / y
    return sqrt(df * y)
