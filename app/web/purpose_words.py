"""Why a comparison is judged, as pages word it."""

from collections.abc import Mapping
from typing import Final

from app.models import Purpose

PURPOSES: Final[Mapping[str, str]] = {
    Purpose.TRAIN: "training data",
    Purpose.EVALUATION: "evaluation",
    Purpose.GOLD: "gold",
    Purpose.PRACTICE: "practice",
    Purpose.REPEAT: "repeat",
    Purpose.FRESH: "fresh vote",
}


def of(purpose: str) -> str:
    """Return a purpose in words."""
    return PURPOSES[purpose]
