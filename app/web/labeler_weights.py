"""Labeler weights as the text of one form field, such as `L2 0.5, L3 1.4`."""

import re
from collections.abc import Iterable

from app.domain.reward_parts import LabelerWeight
from app.errors import Invalid

_PARTS = re.compile(r"[,;\n]+")
_PART = re.compile(r"(?P<labeler>[^\s=:]+)\s*[\s=:]\s*(?P<weight>[^\s=:]+)")


def to_text(weights: Iterable[LabelerWeight]) -> str:
    """Return weights as text that `of_text` reads."""
    return ", ".join(f"{one.labeler} {str(one.weight).removesuffix('.0')}" for one in weights)


def of_text(text: str) -> tuple[LabelerWeight, ...]:
    """Read weights: a pseudonym and a number for each labeler, separated by commas.

    Raises:
        Invalid: a part is not a pseudonym and a number, or the number is out of range.
    """
    return tuple(_read(part.strip()) for part in _PARTS.split(text) if part.strip())


def _read(part: str) -> LabelerWeight:
    found = _PART.fullmatch(part)
    try:
        weight = float(found["weight"]) if found else None
    except ValueError:
        weight = None
    if found is None or weight is None:
        raise Invalid(f"labeler weights: {part!r} must be a pseudonym and a weight, such as L2 0.5")
    return LabelerWeight(found["labeler"], weight)
