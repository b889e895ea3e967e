"""The words of a text, and whether a search finds them: the same rules for every database.

Case and accents do not matter. Scripts without spaces between words (Chinese, Japanese, Thai and
others) are indexed by character, so that a run of them is found wherever it occurs. The index of
PostgreSQL follows the same rules in SQL (`migrations/versions/20261129_search_by_word.py`).
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from app.errors import Invalid

LONGEST_TEXT = 100_000  # characters that are indexed; later ones are not found
LONGEST_SEARCH = 500  # characters
FEWEST_OF_PREFIX = 2  # shorter words must be whole
ACCENTS = range(0x300, 0x370)
UNSPACED = (
    *(
        range(0xE00, 0xF00),
        range(0x1000, 0x10A0),
        range(0x1780, 0x1800),
    ),  # Thai, Lao, Burmese, Khmer
    *(range(0x3040, 0x3100), range(0x3400, 0x4DC0), range(0x4E00, 0xA000)),  # Japanese, Chinese
    *(range(0xF900, 0xFB00), range(0x20000, 0x32000)),
)
"""Characters that are words of their own."""

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_TERM = re.compile(r'"([^"]*)"?|([^"\s]+)')


@dataclass(frozen=True, slots=True)
class SearchTerm:
    """Words that must follow each other; with `is_prefix`, the last may be longer."""

    words: tuple[str, ...]
    is_prefix: bool


class _Folding(dict[int, str | None]):
    """Maps a character to itself, to a space, or to a word of its own; None drops it."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        if unicodedata.category(char)[0] not in "LNM":
            self[code] = " "
        elif any(code in block for block in UNSPACED):
            self[code] = f" {char} "
        else:
            self[code] = char
        return self[code]


_unaccent = dict.fromkeys(ACCENTS)
_fold = _Folding()


def words(text: str) -> list[str]:
    """Return the words of a text in order, folded; those past `LONGEST_TEXT` are left out."""
    text = text[:LONGEST_TEXT]
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    bare = unicodedata.normalize("NFKD", text).translate(_unaccent)
    composed = unicodedata.normalize("NFKC", bare)[:LONGEST_TEXT]
    return composed.lower().translate(_fold).split()


def indexed(text: str | None) -> str:
    """Return a text folded, for an index that splits at punctuation and ignores ASCII case."""
    text = (text or "")[:LONGEST_TEXT]
    return text if text.isascii() else " ".join(words(text))


def indexed_messages(messages: str | None) -> str:
    """Return the words of a JSON list of messages, for the same index."""
    contents = (str(message.get("content", "")) for message in json.loads(messages or "[]"))
    return indexed("\n".join(contents))


def parse(search: str) -> tuple[SearchTerm, ...]:
    """Return the terms of a search: words by their beginning, or whole phrases in quotes.

    Nothing else has a meaning; a search without a single letter or digit has no terms.

    Raises:
        Invalid: the search is too long.
    """
    if len(search.strip()) > LONGEST_SEARCH:
        raise Invalid(
            f"a search may have at most {LONGEST_SEARCH} characters, not {len(search.strip()):,}"
        )
    terms = []
    for phrase, word in _TERM.findall(search):
        found = tuple(part[:LONGEST_SEARCH] for part in words(phrase or word))
        if found:
            is_prefix = not phrase and len(found[-1]) >= FEWEST_OF_PREFIX
            terms.append(SearchTerm(found, is_prefix))
    return tuple(dict.fromkeys(terms))


def is_match(terms: Sequence[SearchTerm], text: str) -> bool:
    """Whether a text contains all terms."""
    found = words(text)
    return bool(terms) and all(_contains(found, term) for term in terms)


def _contains(found: Sequence[str], term: SearchTerm) -> bool:
    *before, last = term.words
    return any(
        (word.startswith(last) if term.is_prefix else word == last)
        and list(found[at - len(before) : at]) == before
        for at, word in islice(enumerate(found), len(before), None)
    )
