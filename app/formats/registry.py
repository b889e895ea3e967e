"""All import formats: detection by the first rows or selection by name, and streaming reads.

A row that cannot be read becomes a Rejected with its line number and reason, and reading continues.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from app.errors import Invalid
from app.formats import reading, unnamed_votes, zip_files
from app.formats.charsets import peek
from app.formats.column_mapping import ColumnsByField
from app.formats.known_formats import ARCHIVE, FORMATS, named, names
from app.formats.lines import DEFAULT, Limits
from app.formats.raw_rows import raw_rows
from app.formats.reading import Numbered
from app.formats.records import Record, Rejected

__all__ = ["FORMATS", "detect", "known_name", "names", "numbered", "outcomes", "read"]


def known_name(name: str) -> str:
    """Return the name if a format has it.

    Raises:
        Invalid: No format is called ``name``.
    """
    return name if name == ARCHIVE else named(name).name


def detect(
    first_lines: Sequence[bytes], limits: Limits = DEFAULT, mapping: ColumnsByField | None = None
) -> str:
    """Return the name of the format that recognizes most of the first rows.

    Raises Invalid if no format recognizes any; the message names what is missing.
    """
    if not any(line.strip() for line in first_lines):
        raise Invalid("the file is empty")
    return reading.detected(first_lines, limits, mapping)


def read(
    chunks: Iterable[bytes],
    name: str | None = None,
    limits: Limits = DEFAULT,
    mapping: ColumnsByField | None = None,
) -> Iterator[Record | Rejected]:
    """Read a file of any size like `numbered`, without the line numbers."""
    return (item for _, item in numbered(chunks, name, limits, mapping))


def numbered(
    chunks: Iterable[bytes],
    name: str | None = None,
    limits: Limits = DEFAULT,
    mapping: ColumnsByField | None = None,
) -> Iterator[Numbered]:
    """Read a file of any size with line numbers, keeping one row in memory at a time.

    Args:
        chunks: The bytes of the file, in pieces of any size: plain text, gzip, Parquet, or a zip
            archive. Text is UTF-8, or UTF-16 with a byte-order mark.
        name: The format; detected from the first rows if it is None.
        limits: The limits of the file and of each row.
        mapping: The column of each field; under "ignore", columns to leave out.

    Returns:
        The records of each row, or the reason for its rejection, in the order of the file. The
        files of an archive follow one another, each numbered from 1.

    Raises:
        Invalid: The file is empty, its format is unknown, no format is called ``name``, or the
            mapping names a field or a column that does not exist.
    """
    return _numbered(chunks, name, limits, mapping, None, may_be_empty=False)


def outcomes(
    chunks: Iterable[bytes],
    name: str | None = None,
    limits: Limits = DEFAULT,
    mapping: ColumnsByField | None = None,
    notes: list[str] | None = None,
    labelers: str | None = None,
    member_splits: bool | None = None,
) -> Iterator[Numbered]:
    """Read a file for import: like `numbered`, with a name for every vote.

    Sentences on how the file was read are added to ``notes`` in the meantime.

    Votes without a labeler's name are numbered within their comparison, so that all of them are
    kept, and importing the same file again yields the same names. ``labelers`` is the tag of an
    earlier file, if the same people gave them. ``member_splits`` says whether the names of files in
    an archive set the split: see `member_names`. A file of a known format may have no rows that can
    be read.

    Raises:
        Invalid: For the same reasons as `numbered`.
    """
    may_be_empty = name is not None
    return unnamed_votes.named(
        _numbered(chunks, name, limits, mapping, notes, member_splits, may_be_empty=may_be_empty),
        labelers,
    )


def _numbered(
    chunks: Iterable[bytes],
    name: str | None,
    limits: Limits,
    mapping: ColumnsByField | None,
    notes: list[str] | None,
    member_splits: bool | None = None,
    *,
    may_be_empty: bool,
) -> Iterator[Numbered]:
    if name is not None:
        known_name(name)
    head, rest = peek(chunks, len(zip_files.MAGIC[0]))
    whole = chain([head], rest)
    if head.startswith(zip_files.MAGIC):
        return _of_archive(whole, name, limits, mapping, notes, member_splits)
    stream = raw_rows(whole, limits, notes)
    readable = stream if may_be_empty else reading.readable(stream)
    return reading.records(reading.opened(readable, name, limits, mapping), notes)


def _of_file(
    chunks: Iterable[bytes],
    name: str | None,
    limits: Limits,
    mapping: ColumnsByField | None,
    notes: list[str],
) -> Iterator[Numbered]:
    stream = reading.readable(raw_rows(chunks, limits, notes))
    return reading.records(reading.opened(stream, name, limits, mapping), notes)


def _of_archive(
    chunks: Iterable[bytes],
    name: str | None,
    limits: Limits,
    mapping: ColumnsByField | None,
    notes: list[str] | None,
    member_splits: bool | None,
) -> Iterator[Numbered]:
    """Read the files of an archive; rejected rows, unreadable and skipped files are named."""
    said = [] if notes is None else notes
    with zip_files.opened(chunks, limits) as archive:
        if archive.skipped:
            said.append(archive.skipped)
        splits = archive.splits(member_splits)
        said += archive.remarks(splits)
        is_one = len(archive.members) == 1
        for info in archive.members:
            of_file: list[str] = []
            name_shown = zip_files.shown(info)
            prefix = "" if is_one else f"{name_shown}: "
            try:
                own = None if name == ARCHIVE else name
                for number, outcome in _of_file(
                    archive.chunks(info), own, limits, mapping, of_file
                ):
                    if isinstance(outcome, Rejected):
                        outcome = Rejected(outcome.line, f"{prefix}{outcome.reason}", outcome.raw)
                    elif not is_one or splits.by_name:
                        outcome.file_under(name_shown, splits.by_name.get(name_shown))
                    yield number, outcome
            except Invalid as error:
                yield 1, Rejected(1, f"{prefix}{error}")
            said += [f"{prefix}{note}" for note in of_file]
