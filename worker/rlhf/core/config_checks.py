"""Validation of settings; the message names the setting, the rule and the value."""

import math
from typing import Any


def require_positive(config: Any, *names: str) -> None:
    """Refuse settings that are not finite and above 0.

    Raises:
        ValueError: naming the setting, the rule and the value.
    """
    for name in names:
        value = getattr(config, name)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive, got {value}")


def require_within(config: Any, low: float, high: float, *names: str) -> None:
    """Refuse settings below `low` or above `high`.

    Raises:
        ValueError: naming the setting, the rule and the value.
    """
    for name in names:
        value = getattr(config, name)
        if not low <= value <= high:
            upper_bound = "" if math.isinf(high) else f" and at most {high:g}"
            raise ValueError(f"{name} must be at least {low:g}{upper_bound}, got {value}")
