"""The difference between two texts: by line first, then by word within the lines that changed.

Long unchanged stretches are reduced to a few lines of context around each change.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

MOST_CELLS = 1_000_000
"""The largest table in which words are compared; a larger one takes seconds."""
AROUND = 2
"""Lines of context before and after a change."""
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


class PieceKind(StrEnum):
    """Where a piece of text occurs, or that lines are left out."""

    SAME = "same"
    OLD = "old"
    NEW = "new"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Piece:
    """Text in both versions, only in the old or only in the new; or a gap of some lines."""

    kind: PieceKind
    text: str = ""
    lines: int = 0


def pieces(old: str, new: str) -> list[Piece]:
    """Return the pieces of a diff; none if the texts are equal.

    Line endings and surrounding blanks do not count. Apart from gaps, the unchanged pieces together
    with the old (or new) ones make up the old (or new) text.
    """
    before, after = _lines(old), _lines(new)
    if before == after:
        return []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    codes = matcher.get_opcodes()
    diff: list[Piece] = []
    for index, (kind, a, b, c, d) in enumerate(codes):
        if kind == "equal":
            diff.extend(_same(before[a:b], is_first=index == 0, is_last=index == len(codes) - 1))
        else:
            diff.extend(_words("".join(before[a:b]), "".join(after[c:d])))
    return diff


def marked(old: str, new: str) -> list[Piece]:
    """Return both texts merged in full, marking the words that occur in only one of them.

    Texts too long to compare word by word are marked as a whole.
    """
    if len(_WORDS.findall(old)) * len(_WORDS.findall(new)) > MOST_CELLS:
        return [Piece(PieceKind.OLD, old), Piece(PieceKind.NEW, new)]
    return list(_words(old, new))


def _lines(text: str) -> list[str]:
    # Every line ends with a line break, so that adding a line does not change the one before it.
    plain = text.replace("\r\n", "\n").strip()
    return [f"{line}\n" for line in plain.split("\n")] if plain else []


def _same(lines: Sequence[str], *, is_first: bool, is_last: bool) -> Iterator[Piece]:
    head = 0 if is_first else AROUND
    tail = 0 if is_last else AROUND
    if len(lines) <= head + tail + 1:
        yield Piece(PieceKind.SAME, "".join(lines))
        return
    if head:
        yield Piece(PieceKind.SAME, "".join(lines[:head]))
    yield Piece(PieceKind.GAP, lines=len(lines) - head - tail)
    if tail:
        yield Piece(PieceKind.SAME, "".join(lines[-tail:]))


def _words(old: str, new: str) -> Iterator[Piece]:
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            yield Piece(PieceKind.SAME, "".join(before[a:b]))
            continue
        if b > a:
            yield Piece(PieceKind.OLD, "".join(before[a:b]))
        if d > c:
            yield Piece(PieceKind.NEW, "".join(after[c:d]))
