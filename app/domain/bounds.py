"""Checks of single values of a plan; a refusal names the value, its bounds and what it is."""

import math

from app.errors import Invalid


def between(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside its bounds.

    Raises:
        Invalid: naming it, the bounds and the value.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise Invalid(f"{name} must be {low} to {high}, not {value}")


def optional(name: str, value: float | None, low: float, high: float) -> None:
    """Refuse a number outside its bounds; None stands for a default.

    Raises:
        Invalid: naming it, the bounds and the value.
    """
    if value is not None:
        between(name, value, low, high)
