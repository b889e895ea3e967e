"""The JSON object in an AI judge's reply, which models wrap in prose, code blocks and thoughts."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import Invalid

EXPLANATION_MOST = 2_000
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


def last_object(reply: str, wanted: str) -> Mapping[str, Any]:
    """Return the last JSON object with a key; an explanation may quote others.

    Raises:
        Invalid: there is none.
    """
    found = [each for each in _objects(_THOUGHT.sub("", reply)) if wanted in each]
    if not found:
        raise Invalid(f"no JSON object with {wanted!r} in the reply: {short(reply)}")
    return found[-1]


def explanation(content: Mapping[str, Any]) -> str:
    """Return the explanation in a reply's object; empty if there is none."""
    return clean(str(content.get("explanation") or ""))[:EXPLANATION_MOST]


def whole(value: object) -> object:
    """Return 4 for 4.0, as some models write it; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def clean(text: str) -> str:
    """Return a text that every database can store: without NUL and halves of characters."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode().strip()


def short(value: object) -> str:
    """Return a value for an error message, on one line and cut."""
    text = " ".join(str(value).split())
    return repr(text if len(text) <= 160 else f"{text[:159]}…")


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects in a text, which may stand in prose or in a code block."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(value, dict):
            yield value
        at = text.find("{", end)
