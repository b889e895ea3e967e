"""A sign of life on this machine: a file that a worker touches in every sweep.

Containers ask for it, `python -m worker.pulse WORK_FOLDER`, where asking the database would end
workers in the middle of a training because the database is away. It needs the standard library
only, so that it takes no noticeable share of a core. It says that the worker's process sweeps, not
that its job makes progress.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

STALE_S: Final = 180.0
"""Without a beat for so long, a worker counts as dead; a sweep may wait for the database."""
_FORGOTTEN_S: Final = 86_400.0


def beat(work: Path, worker: str) -> None:
    """Touch the worker's file, and remove those of workers that have been dead for a day.

    Raises:
        OSError: the file cannot be written.
    """
    path = _path(work, worker)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time(),) * 2)  # by this machine's clock, not by that of a file server
    for other in path.parent.iterdir():
        if (_age_s(other) or 0.0) > _FORGOTTEN_S:
            other.unlink(missing_ok=True)


def end(work: Path, worker: str) -> None:
    """Remove the file of a worker that shuts down in order."""
    with suppress(OSError):
        _path(work, worker).unlink(missing_ok=True)


def ages_s(work: Path, host: str) -> Iterator[float]:
    """Yield how long ago each worker of a host has touched its file, in seconds."""
    for path in _path(work, "").glob(f"{host}-*"):
        age_s = _age_s(path)
        if age_s is not None and path.name.rpartition("-")[0] == host:
            yield age_s


def main(arguments: list[str]) -> int:
    """Return 0 if a worker of this host is at work in the folder, otherwise 1."""
    if len(arguments) != 1:
        sys.stderr.write(f"give the work folder, one argument, not {len(arguments)}\n")
        return 2
    host = socket.gethostname()
    latest = min(ages_s(Path(arguments[0]), host), default=None)
    if latest is None:
        sys.stderr.write(f"no worker of {host} is at work in {arguments[0]}\n")
        return 1
    sys.stdout.write(f"the latest sweep was {latest:.0f} s ago\n")
    return 0 if latest <= STALE_S else 1


def _path(work: Path, worker: str) -> Path:
    return work / "pulse" / worker


def _age_s(path: Path) -> float | None:
    """Return the age of a file; None if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
