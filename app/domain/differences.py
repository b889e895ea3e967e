"""What changed between two texts: by lines first, by words within the lines that changed.

Long stretches that stayed the same are cut to a few lines around each change.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

MOST_CELLS = 1_000_000
"""Of the table that words are compared in; more takes seconds."""
AROUND = 2
"""Lines that are kept before and after a change."""
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


class Kind(StrEnum):
    """What a piece is."""

    SAME = "same"
    OLD = "old"
    NEW = "new"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text in both, only in the old or only in the new; or a gap of so many lines."""

    kind: Kind
    text: str = ""
    lines: int = 0


def pieces(old: str, new: str) -> list[Piece]:
    """Return what changed; nothing for texts that say the same.

    Ends of lines and blanks around the texts do not count. Without its gaps the pieces of the old
    (or new) kind and the same make up the old (or new) text.
    """
    before, after = _lines(old), _lines(new)
    if before == after:
        return []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    codes = matcher.get_opcodes()
    found: list[Piece] = []
    for at, (kind, a, b, c, d) in enumerate(codes):
        if kind == "equal":
            found.extend(_same(before[a:b], is_first=at == 0, is_last=at == len(codes) - 1))
        else:
            found.extend(_words("".join(before[a:b]), "".join(after[c:d])))
    return found


def marked(old: str, new: str) -> list[Piece]:
    """Return both texts as one, whole, with the words marked that only one of them has.

    Texts too long to be compared word by word are marked as a whole.
    """
    if len(_WORDS.findall(old)) * len(_WORDS.findall(new)) > MOST_CELLS:
        return [Piece(Kind.OLD, old), Piece(Kind.NEW, new)]
    return list(_words(old, new))


def _lines(text: str) -> list[str]:
    # Ends with a line break, so that adding a line does not change the one before.
    plain = text.replace("\r\n", "\n").strip()
    return [f"{line}\n" for line in plain.split("\n")] if plain else []


def _same(lines: Sequence[str], *, is_first: bool, is_last: bool) -> Iterator[Piece]:
    head = 0 if is_first else AROUND
    tail = 0 if is_last else AROUND
    if len(lines) <= head + tail + 1:
        yield Piece(Kind.SAME, "".join(lines))
        return
    if head:
        yield Piece(Kind.SAME, "".join(lines[:head]))
    yield Piece(Kind.GAP, lines=len(lines) - head - tail)
    if tail:
        yield Piece(Kind.SAME, "".join(lines[-tail:]))


def _words(old: str, new: str) -> Iterator[Piece]:
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            yield Piece(Kind.SAME, "".join(before[a:b]))
            continue
        if b > a:
            yield Piece(Kind.OLD, "".join(before[a:b]))
        if d > c:
            yield Piece(Kind.NEW, "".join(after[c:d]))
