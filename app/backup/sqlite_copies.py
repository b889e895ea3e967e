"""Copies of a SQLite database, made and put back through SQLite's online backup.

Both ways the other processes may go on: they wait for a lock, and see the database as a whole
before or after.
"""

import os
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Final

from app.backup.archives import CHUNK, Report
from app.errors import Conflict, Invalid

_PAGES: Final = 4096  # a step of a copy: 16 MiB
_BUSY_S: Final = 30.0
_LEVEL: Final = 3


def copy(source: Path, to: Path, report: Report) -> None:
    """Copy the database as it is at this moment.

    The copy holds a read lock, so that it is of one moment and never starts over. Writers wait
    meanwhile, about a second for each few hundred megabytes.

    Raises:
        Invalid: the database is damaged.
    """
    _create_privately(to)
    with closing(_open(source)) as live, closing(_open(to)) as target:
        live.execute("BEGIN")
        live.execute("SELECT count(*) FROM sqlite_master").fetchone()
        live.backup(target, pages=_PAGES, progress=_progress(live, report))
    check(to, f"the database {source}")


def check(path: Path, what: str) -> None:
    """Check the pages, indexes and foreign keys of a database.

    Raises:
        Invalid: it is damaged.
    """
    try:
        with closing(_open(path)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.DatabaseError as error:
        raise Invalid(f"{what} is damaged: {error}") from error
    if found != "ok":
        raise Invalid(f"{what} is damaged: {found}")
    if dangling is not None:
        raise Invalid(f"{what} is damaged: a row of {dangling[0]} names a missing {dangling[2]}")


def replace(live: Path, staged: Path, aside: Path | None) -> None:
    """Make the live database the staged one, after copying what it was to `aside`.

    It keeps its file, so that a process that has it open sees the new content and does not go on
    with a file that was moved. Nothing is written between the two copies: an exclusive lock is
    held from before the first until after the second.

    Raises:
        Conflict: another process uses the database for longer than half a minute.
    """
    _create_privately(live)
    try:
        with closing(_open(live)) as target, closing(_open(staged)) as source:
            target.execute("PRAGMA journal_mode=DELETE")
            target.execute("PRAGMA synchronous=FULL")
            target.execute("PRAGMA locking_mode=EXCLUSIVE")
            target.execute("BEGIN EXCLUSIVE")
            target.execute("COMMIT")  # the lock stays until the connection is closed
            if aside is not None:
                _create_privately(aside)
                with closing(_open(aside)) as kept:
                    target.backup(kept)
            source.backup(target)
    except sqlite3.OperationalError as error:
        raise Conflict(f"{live} is in use: {error}; stop attune and try again") from error


def compress(source: Path, to: Path, report: Report) -> None:
    """Write the file as zlib data."""
    packer = zlib.compressobj(_LEVEL)
    with source.open("rb") as file, to.open("wb") as packed:
        while chunk := file.read(CHUNK):
            packed.write(packer.compress(chunk))
            report(len(chunk))
        packed.write(packer.flush())


def expand(source: IO[bytes], to: Path, most: int) -> None:
    """Write what zlib data holds into a file.

    Raises:
        Invalid: it is damaged, or holds other than `most` bytes.
    """
    unpacker = zlib.decompressobj()
    _create_privately(to)
    written = 0

    def write(piece: bytes) -> None:
        nonlocal written
        written += len(piece)
        if written > most:
            raise Invalid(f"the database of a backup has more than its {most:,} bytes")
        file.write(piece)

    with to.open("wb") as file:
        try:
            while chunk := unpacker.unconsumed_tail or source.read(CHUNK):
                write(unpacker.decompress(chunk, CHUNK))
            write(unpacker.flush())
        except zlib.error as error:
            raise Invalid(f"the database of a backup is damaged: {error}") from error
    if written != most or not unpacker.eof:
        raise Invalid(f"the database of a backup has {written:,} bytes instead of {most:,}")


def write_privately(path: Path, content: bytes) -> None:
    """Write a small file that only its owner can read."""
    _create_privately(path)
    path.write_bytes(content)


def _progress(live: sqlite3.Connection, report: Report) -> Callable[[int, int, int], None]:
    page = int(live.execute("PRAGMA page_size").fetchone()[0])
    before: list[int] = []

    def progress(_status: int, remaining: int, total: int) -> None:
        done = (before[-1] if before else total) - remaining
        before[:] = [remaining]
        report(done * page)

    return progress


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(str(path), timeout=_BUSY_S, isolation_level=None)


def _create_privately(path: Path) -> None:
    """Create a file that only its owner can read, unless it exists."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
