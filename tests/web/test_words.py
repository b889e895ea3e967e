"""No key, no empty value and no number without grammar reaches a page; see `words`."""

import re
from typing import Any, Final

from app.db import Database
from tests.web import words

# What a page shows as code is meant to be typed or copied; the pages of docs/learning are not ours.
AS_CODE: Final = ("code", "pre", "kbd")
PATTERNS: Final = {
    "a key": re.compile(r"(?<![\w=/.])[a-z]+(?:_[a-z0-9]+)+(?![\w=.])"),
    "an empty value": re.compile(r"\bNone\b|(?<!\w)''(?!\w)"),
    "one of several": re.compile(
        r"(?<![\d,.–:] )(?<![\d,.–:/-])\b1 "
        r"(?!is |was |has |as |minus |plus |keeps |waits |loss |process )[a-z]{2,}s\b"
    ),
    "a straight apostrophe": re.compile(r"(?<=[A-Za-z])'(?:s|t|re|ve|ll)\b"),
    "a hyphen as a minus sign": re.compile(r"(?<![\w.)\]-])-\d+(?:[.,]\d+)*(?![\w-])"),
    "a before a vowel": re.compile(r"\b[Aa] (?!is\b|and\b|against\b|one\b|un[it]|us|eu)[aeiou]\w+"),
}
TYPED: Final = frozenset(
    {
        *("response_a", "response_b"),  # columns of a file
        "enable_thinking",  # an argument of a chat template
        "-1",  # a side of planted scores, which have none
    }
)


def test_pages_speak_in_words(application: Any, database: Database) -> None:
    read = words.read_most(application, database, *AS_CODE)
    assert len(read.places) > 100  # or else the test has read nothing
    faults = [
        f"{what} in {place}: {text}"
        for place, pieces in read.places.items()
        if "/learning" not in place
        for text in pieces
        for what, pattern in PATTERNS.items()
        for match in pattern.finditer(text)
        if match.group() not in TYPED
    ]
    assert not faults, "\n".join(faults)
