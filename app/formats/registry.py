"""Every format that comes in, told apart by its first rows or by name, and read as a stream.

A bad row becomes a Rejected with its line and reason, and the rest goes on.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from app.errors import Invalid
from app.formats import reading, unnamed_votes, zip_files
from app.formats.charsets import peek
from app.formats.column_mapping import Given
from app.formats.items import items
from app.formats.known_formats import ARCHIVE, FORMATS, named, names
from app.formats.lines import DEFAULT, Limits
from app.formats.reading import Numbered
from app.formats.records import Record, Rejected

__all__ = ["FORMATS", "detect", "known_name", "names", "numbered", "outcomes", "read"]


def known_name(name: str) -> str:
    """Return a format's name.

    Raises:
        Invalid: Nothing is called that.
    """
    return name if name == ARCHIVE else named(name).name


def detect(
    first_lines: Sequence[bytes], limits: Limits = DEFAULT, mapping: Given | None = None
) -> str:
    """Name the format that knows most of the first rows.

    Raises Invalid where none knows any; the message names the fields that were found, and what is
    missing.
    """
    if not any(line.strip() for line in first_lines):
        raise Invalid("the file is empty")
    return reading.detected(first_lines, limits, mapping)


def read(
    chunks: Iterable[bytes],
    name: str | None = None,
    limits: Limits = DEFAULT,
    mapping: Given | None = None,
) -> Iterator[Record | Rejected]:
    """Read a file of any size as `numbered` does, without the numbers."""
    return (item for _, item in numbered(chunks, name, limits, mapping))


def numbered(
    chunks: Iterable[bytes],
    name: str | None = None,
    limits: Limits = DEFAULT,
    mapping: Given | None = None,
) -> Iterator[Numbered]:
    """Read a file of any size, one row in memory at a time, each with the number of its line.

    Args:
        chunks: The bytes of the file, in pieces of any size: text in any encoding with a mark,
            gzip, Parquet, or a zip archive.
        name: The format; detected from the first rows where it is not given.
        limits: What a row may hold.
        mapping: For each field the column that holds it; under "ignore" columns to leave out.

    Returns:
        What each row says, or why it was not taken, in the file's order; a row may say several
        things. Files of an archive follow each other, each numbered from 1.

    Raises:
        Invalid: The file is empty, its format is not known, nothing is called ``name``, or the
            mapping names a field or a column that is not there.
    """
    return _numbered(chunks, name, limits, mapping, may_be_empty=False)


def outcomes(
    chunks: Iterable[bytes],
    name: str | None = None,
    limits: Limits = DEFAULT,
    mapping: Given | None = None,
) -> Iterator[Numbered]:
    """Read a file to keep it: as `numbered` does, and no vote is lost for want of a name.

    Votes without a labeler's name are numbered within their comparison, so that each has a name of
    its own and the same file gives the same names again. A file of a known format may hold nothing
    that can be read.

    Raises:
        Invalid: As `numbered` does.
    """
    may_be_empty = name is not None
    return unnamed_votes.named(_numbered(chunks, name, limits, mapping, may_be_empty=may_be_empty))


def _numbered(
    chunks: Iterable[bytes],
    name: str | None,
    limits: Limits,
    mapping: Given | None,
    *,
    may_be_empty: bool,
) -> Iterator[Numbered]:
    if name is not None:
        known_name(name)
    head, rest = peek(chunks, len(zip_files.MAGIC[0]))
    whole = chain([head], rest)
    if head.startswith(zip_files.MAGIC):
        return _of_archive(whole, name, limits, mapping)
    stream = items(whole, limits)
    readable = stream if may_be_empty else reading.readable(stream)
    return reading.records(reading.opened(readable, name, limits, mapping))


def _of_file(
    chunks: Iterable[bytes], name: str | None, limits: Limits, mapping: Given | None
) -> Iterator[Numbered]:
    stream = reading.readable(items(chunks, limits))
    return reading.records(reading.opened(stream, name, limits, mapping))


def _of_archive(
    chunks: Iterable[bytes], name: str | None, limits: Limits, mapping: Given | None
) -> Iterator[Numbered]:
    """Read the files of an archive; what cannot be read is rejected under the file's name."""
    with zip_files.opened(chunks, limits) as archive:
        for info in archive.members:
            prefix = f"{zip_files.shown(info)}: " if len(archive.members) > 1 else ""
            try:
                own = None if name == ARCHIVE else name
                for number, outcome in _of_file(archive.chunks(info), own, limits, mapping):
                    if isinstance(outcome, Rejected):
                        outcome = Rejected(outcome.line, f"{prefix}{outcome.reason}", outcome.raw)
                    yield number, outcome
            except Invalid as error:
                yield 1, Rejected(1, f"{prefix}{error}")
