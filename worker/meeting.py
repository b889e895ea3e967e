"""How the hosts of a group tell one another of an attempt: files in the work folder they share.

The first host names the attempt that is open. An assistant joins each attempt once, and says if it
has left one before its end: processes that wait for its connections would not notice.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER: Final = "meeting"
OPEN, JOINED, LEFT = "open", "joined", "left"


def begin(work: Path, attempt: str) -> None:
    """Name the attempt that other hosts may join."""
    end(work)
    folder = work / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{OPEN}-{os.getpid()}"
    aside.write_text(attempt, encoding="utf-8")
    aside.replace(folder / OPEN)


def end(work: Path) -> None:
    """Close the attempt, and forget who was there."""
    for path in (work / FOLDER).glob("*"):
        with suppress(OSError):
            path.unlink()


def current(work: Path) -> str:
    """Return the attempt that is open, or an empty string."""
    try:
        return (work / FOLDER / OPEN).read_text(encoding="utf-8")
    except OSError:
        return ""


def join(work: Path, attempt: str) -> bool:
    """Note that this host joins; return False if it had joined before, and was lost since."""
    path = work / FOLDER / f"{JOINED}-{attempt}-{socket.gethostname()}"
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def leave(work: Path, attempt: str) -> None:
    """Say that this host has left an attempt before its end."""
    with suppress(OSError):
        (work / FOLDER / f"{LEFT}-{attempt}-{socket.gethostname()}").touch()


def lost(work: Path, attempt: str) -> str:
    """Return a host that has left the attempt, or an empty string."""
    start = f"{LEFT}-{attempt}-"
    return next((p.name.removeprefix(start) for p in (work / FOLDER).glob(f"{start}*")), "")
