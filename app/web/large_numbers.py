"""Names the numbers of a request that are too large for the database.

Most fields have a narrower rule of their own. What passes it and does not fit into a column is
looked for in the request once the database has refused it, so that no other request pays for that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

LIMITS: Final = (2**63 - 1, 2**31 - 1)
"""What columns of 64 and of 32 bits hold; the latter only refuse on PostgreSQL."""
NAMED_MOST: Final = 5
_SHOWN_MOST: Final = 40  # digits
_WHOLE: Final = re.compile(r"[+-]?\d{1,300}")


@dataclass(frozen=True, slots=True)
class LargeNumber:
    """A number with its place in the request, and what it may be at most, apart from its sign."""

    place: str
    value: int
    most: int

    def __str__(self) -> str:
        """Return the field, the rule and the value."""
        return f"{self.place} must be {-self.most} to {self.most}, not {shown(str(self.value))}"


def find(request: Request) -> list[LargeNumber]:
    """Return the numbers of a request that exceed the widest limit that one exceeds."""
    numbers = list(_numbers(request))
    for most in LIMITS:
        found = [LargeNumber(place, n, most) for place, n in numbers if abs(n) > most]
        if found:
            return found[:NAMED_MOST]
    return []


def note_body(request: Request, value: Any) -> None:
    """Remember the parsed body of a request for `find`."""
    request.state.parsed_body = value


def shown(digits: str) -> str:
    """Return a number as an error shows it."""
    return digits if len(digits) <= _SHOWN_MOST else f"{digits[:_SHOWN_MOST]}…"


def _numbers(request: Request) -> Iterator[tuple[str, int]]:
    texts = (*request.path_params.items(), *request.query_params.multi_items())
    for place, value in texts:
        yield from _in(value, place)
    yield from _in(getattr(request.state, "parsed_body", None), "")


def _in(value: Any, place: str) -> Iterator[tuple[str, int]]:
    """Yield the whole numbers of a value; bodies are shallow, so this may recurse."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        yield place, int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield place or "the body", value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _in(part, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _in(part, f"{place}.{number}" if place else str(number))
