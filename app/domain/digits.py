"""Numbers that a person or a program wrote as digits: read only if a database can hold them.

Python refuses to read very many digits with an error that is none of ours.
"""

from typing import Final

LARGEST: Final = 2**63 - 1
_MOST: Final = len(str(LARGEST))


def number_of(text: str) -> int | None:
    """Return the number that a text consists of; None if it is none, or too large."""
    if not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0")
    number = int(digits[: _MOST + 1] or "0")
    return number if number <= LARGEST else None
