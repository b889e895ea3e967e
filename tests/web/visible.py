"""What a page lets a person read: each piece of text, label and hint, in order.

A piece is the text of the innermost block, so that a sentence with a link in it stays one. What is
in a fold or a menu counts as well; styles, scripts and the values of fields do not.
"""

from html.parser import HTMLParser
from typing import Final

_INLINE: Final = frozenset(
    {
        *("a", "abbr", "b", "bdi", "bdo", "code", "del", "em", "i", "ins", "kbd", "mark", "q", "s"),
        *("small", "span", "strong", "sub", "sup", "time", "u", "wbr"),
    }
)
_SILENT: Final = frozenset({"script", "style", "template", "noscript"})
_VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta"})
_SPOKEN: Final = ("aria-label", "placeholder", "title", "alt", "data-confirm", "aria-description")


class _Reader(HTMLParser):
    def __init__(self, without: frozenset[str]) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._text: list[str] = []
        self._without = without
        self._left_out = 0  # open elements, from the first one that is left out

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _INLINE:
            self.end_piece()
        classes = set((dict(attrs).get("class") or "").split())
        if tag not in _VOID and (
            self._left_out or tag in _SILENT or {tag, *classes} & self._without
        ):
            self._left_out += 1
        if self._left_out:
            return
        for name, value in attrs:
            if name in _SPOKEN and value:
                self._add(value)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _INLINE:
            self.end_piece()
        if self._left_out and tag not in _VOID:
            self._left_out -= 1

    def handle_data(self, data: str) -> None:
        if not self._left_out:
            self._text.append(data)

    def end_piece(self) -> None:
        self._add("".join(self._text))
        self._text = []

    def _add(self, text: str) -> None:
        piece = " ".join(text.split())
        if piece:
            self.pieces.append(piece)


def texts(html: str, *without: str) -> list[str]:
    """Return the pieces of text of a page, but for elements with some tags or classes."""
    reader = _Reader(frozenset(without))
    reader.feed(html)
    reader.close()
    reader.end_piece()
    return reader.pieces
