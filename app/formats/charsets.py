"""Turns text of any encoding into UTF-8.

A byte-order mark decides. Without one, the first bytes outside ASCII do: they are UTF-8, or else
Windows-1252 if they look like Western text, which is what a spreadsheet writes as plain CSV. A
person can also name the encoding.
"""

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, cast

from app.errors import Invalid

_UTF8 = codecs.BOM_UTF8
# The marks of UTF-32 start with those of UTF-16, so they come first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONGEST = 4
REMEDY = "save the file as UTF-8 (in a spreadsheet, as “CSV UTF-8”)"

ENCODINGS: Final[Mapping[str, str]] = {
    "utf-8": "UTF-8",
    "windows-1252": "Windows-1252 (Western European)",
    "windows-1250": "Windows-1250 (Central European)",
    "windows-1251": "Windows-1251 (Cyrillic)",
    "mac-roman": "Mac OS Roman",
    "shift-jis": "Shift JIS (Japanese)",
    "gb18030": "GB 18030 (Chinese)",
}
"""The encodings that a person can name, with their titles."""
GUESSED = (
    "Read as Windows-1252, because the text is not UTF-8. If letters look wrong, choose the "
    "encoding, or save the file as UTF-8 (in a spreadsheet, as “CSV UTF-8”)."
)
_CP1252 = "cp1252"
_WINDOW = 1 << 12  # bytes from the first one outside ASCII, by which the encoding is told
_PLAUSIBLE = 0.9  # of the characters outside ASCII
_FOREIGN = 0.2  # of the bytes outside ASCII in runs, which Western languages hardly have
_SIGNS = frozenset("€‚„…‘’“”–—•™«»§°´·¿¡£©®¼½¾±²³ªº\N{NO-BREAK SPACE}")
_HIGH = re.compile(rb"[\x80-\xff]")
_RUN = re.compile(rb"[\x80-\xff]{3,}")
_MULTIBYTE = re.compile(rb"[\xc3-\xf4][\x80-\xbf]")
_PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"PAR1")
_BLOCK = 1 << 16
_IN_MEMORY = 1 << 20


def as_utf8(chunks: Iterable[bytes], notes: list[str] | None = None) -> Iterator[bytes]:
    """Yield a stream as UTF-8 without a byte-order mark.

    A text that is neither marked nor told to be Windows-1252 is unchanged. If it is told to be
    that, a sentence is added to ``notes``.

    Raises Invalid at the point where UTF-16 or UTF-32 text is damaged.
    """
    head, stream = peek(chunks, _LONGEST)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return _recoded(chain([head.removeprefix(mark)], stream), name)
    if head.startswith(_UTF8):
        return chain([head.removeprefix(_UTF8)], stream)
    return _told(chain([head], stream), [] if notes is None else notes)


def named(encoding: str) -> str:
    """Return the encoding if it is one that can be named.

    Raises:
        Invalid: it is not.
    """
    if encoding not in ENCODINGS:
        raise Invalid(f"there is no encoding {encoding!r}; there are {', '.join(ENCODINGS)}")
    return encoding


@contextmanager
def in_encoding(file: BinaryIO, encoding: str | None) -> Iterator[BinaryIO]:
    """Open a file of text in a named encoding as UTF-8 with a byte-order mark, which decides.

    Without an encoding it is the file itself.

    Raises:
        Invalid: the encoding is unknown, the file is not in it, or it is no plain text.
    """
    if not encoding:
        yield file
        return
    named(encoding)
    file.seek(0)
    head = file.read(_LONGEST)
    if head.startswith(_PACKED):
        raise Invalid("an encoding can be chosen for plain text only, not for gzip, zip or Parquet")
    file.seek(0)
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as marked:
        marked.write(_UTF8)
        for text in _decoded(file, encoding):
            marked.write(text.encode())
        marked.seek(0)
        yield cast(BinaryIO, marked)


def _decoded(file: BinaryIO, encoding: str) -> Iterator[str]:
    """Yield a text without its byte-order mark. Raises Invalid if it is not in the encoding."""
    decoder, before = codecs.getincrementaldecoder(encoding)(), 0
    try:
        while chunk := file.read(_BLOCK):
            text = decoder.decode(chunk)
            yield text if before else text.removeprefix("\ufeff")
            before += len(chunk)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise Invalid(
            f"the file is not {ENCODINGS[encoding]}: {error.reason} near byte "
            f"{before + error.start + 1}; choose another encoding"
        ) from error


def peek(chunks: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return at least this many bytes of a stream, if it has them, and the rest of it."""
    stream, head = iter(chunks), b""
    for chunk in stream:
        head += chunk
        if len(head) >= size:
            break
    return head, stream


def _told(stream: Iterator[bytes], notes: list[str]) -> Iterator[bytes]:
    for chunk in stream:
        if chunk.isascii():
            yield chunk
            continue
        # How a stream is cut into chunks must not matter: the window begins at the first such byte.
        at = next(_HIGH.finditer(chunk)).start()
        yield chunk[:at]
        head, rest = peek(chain([chunk[at:]], stream), _WINDOW)
        whole: Iterator[bytes] = chain([head], rest)
        if _is_windows_1252(head[:_WINDOW], is_whole=len(head) < _WINDOW):
            notes.append(GUESSED)
            # A byte without a meaning stays as it is, so that its line is rejected.
            whole = _recoded(whole, _CP1252, errors="surrogateescape")
        yield from whole
        return


def _is_windows_1252(window: bytes, *, is_whole: bool) -> bool:
    """Whether bytes that are outside ASCII in part look like Western text, and are not UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(window, is_whole)
    except UnicodeDecodeError:
        pass
    else:
        return False
    if _MULTIBYTE.search(window) or b"\0" in window:
        return False
    text = window.decode(_CP1252, "surrogateescape")
    outside = [character for character in text if not character.isascii()]
    plausible = sum(c in _SIGNS or (c.isalpha() and c not in "ÿþ") for c in outside)
    in_runs = sum(map(len, _RUN.findall(window)))
    return plausible >= _PLAUSIBLE * len(outside) and in_runs <= _FOREIGN * len(outside)


def _recoded(stream: Iterator[bytes], name: str, errors: str = "strict") -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(name)(errors)
    try:
        for chunk in stream:
            yield decoder.decode(chunk).encode("utf-8", errors)
        yield decoder.decode(b"", final=True).encode("utf-8", errors)
    except UnicodeDecodeError as error:
        yield error.object[: error.start].decode(name).encode()
        raise Invalid(f"the {name.upper()} text is damaged: {error.reason}") from error
