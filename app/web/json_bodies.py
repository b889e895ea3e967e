"""Reads JSON bodies within bounds: bytes, depth, number of values, and text that can be stored.

What a parser allows can occupy a process for seconds and fill its memory many times over: a list in
a list takes one byte each in the body and some sixty in memory. So the structure is counted before
anything is built.
"""

import json
import re
from math import isinf
from typing import Any, Final, NoReturn

from app.errors import Invalid

DEPTH_MOST: Final = 64
VALUES_MOST: Final = 100_000
DIGITS_MOST: Final = 300

# Strings are matched whole, also one that does not end, so that the scan is linear.
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_SUSPICIOUS: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def parse(body: bytes) -> Any:
    """Return the value of a JSON body.

    Raises:
        Invalid: it is not UTF-8, nested too deeply, has too many values, a number that is too
            large, or a text that cannot be stored; the message names the place.
        json.JSONDecodeError: it is not JSON.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"the body must be UTF-8; byte {error.start} is not") from error
    _check_structure(text)
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_int=_whole, parse_float=_number
        )
    except _TooLarge as error:
        raise Invalid(_place_of_large(text)) from error
    if _SUSPICIOUS.search(text):
        _check_texts(value)
    return value


def reason_not_to_store(text: str) -> str:
    """Return why a database cannot store a text; empty if it can."""
    found = _UNSTORABLE.search(text)
    if found is None:
        return ""
    if found.group() == "\x00":
        return "has a NUL character"
    return f"has half of a surrogate pair (U+{ord(found.group()):04X})"


def _check_structure(text: str) -> None:
    depth, values = 0, 1
    for match in _STRUCTURE.finditer(text):
        mark = match.group()
        if mark in "]}":
            depth -= 1
            continue
        if mark not in "[{,":
            continue
        values += 1
        if mark != ",":
            depth += 1
        if depth > DEPTH_MOST:
            raise Invalid(f"the body may be nested {DEPTH_MOST} levels deep, no deeper")
        if values > VALUES_MOST:
            raise Invalid(f"the body may have {VALUES_MOST:,} values, no more")


def _check_texts(value: Any) -> None:
    """Refuse texts that a database cannot store; the body is shallow, so this may recurse."""
    for place, text in _texts(value, ""):
        reason = reason_not_to_store(text)
        if reason:
            raise Invalid(f"{place or 'the body'} {reason}")


def _texts(value: Any, place: str) -> Any:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(part, f"{place}.{number}" if place else str(number))
    elif isinstance(value, dict):
        for name, part in value.items():
            yield f"a name in {place or 'the body'}", name
            yield from _texts(part, f"{place}.{name}" if place else name)


class _TooLarge(Exception):  # it never leaves this module
    """A number is larger than a float can hold."""


class _LargeNumber(str):
    """What is wrong with such a number, in its place."""

    __slots__ = ()


def _whole(digits: str) -> int:
    if len(digits) > DIGITS_MOST:  # more than a float could hold
        raise _TooLarge
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if isinf(value):
        raise _TooLarge
    return value


def _place_of_large(text: str) -> str:
    """Return where the first number is that is too large, in a sentence; it is rare."""

    def whole(digits: str) -> Any:
        fault = f"has {len(digits)} digits; a number may have {DIGITS_MOST}"
        return _LargeNumber(fault) if len(digits) > DIGITS_MOST else int(digits)

    def number(digits: str) -> Any:
        value = float(digits)
        fault = f"must be at most 1.7e308 in size, not {digits[:20]}"
        return _LargeNumber(fault) if isinf(value) else value

    value = json.loads(text, parse_int=whole, parse_float=number)
    places = (
        f"{place or 'the body'} {fault}"
        for place, fault in _texts(value, "")
        if isinstance(fault, _LargeNumber)
    )
    return next(places, "a number in the body is too large")


def _refuse_constant(name: str) -> NoReturn:
    raise Invalid(f"{name} is not a number in JSON")
