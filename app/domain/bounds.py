"""Range checks for the settings of a plan; errors name the setting, its bounds and the value."""

import math

from app.errors import Invalid


def between(name: str, value: float, low: float, high: float) -> None:
    """Check that a number is finite and within its bounds.

    Raises:
        Invalid: with the name, the bounds and the value.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise Invalid(f"{name} must be {low} to {high}, not {value}")


def optional(name: str, value: float | None, low: float, high: float) -> None:
    """Check a number against its bounds unless it is None, which stands for a default.

    Raises:
        Invalid: with the name, the bounds and the value.
    """
    if value is not None:
        between(name, value, low, high)


def training(name: str, epochs: int | None, batch_size: int, learning_rate: float | None) -> None:
    """Check the settings that every training has.

    Raises:
        Invalid: with the name, the bounds and the value.
    """
    optional(f"{name} epochs", epochs, 1, 10_000)
    between(f"{name} batch_size", batch_size, 1, 65_536)
    optional(f"{name} learning_rate", learning_rate, 1e-9, 1.0)
