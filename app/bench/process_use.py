"""What processes use: CPU time and the most memory, from /proc; nothing where there is none."""

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SAMPLE_EVERY_S = 0.1
PROC = Path("/proc")


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes below one, however deep."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for folder in PROC.glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields:
            children[int(fields[1])].append(int(folder.name))
    waiting = list(children[pid])
    while waiting:
        child = waiting.pop()
        yield child
        waiting.extend(children[child])


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used; 0 if it is gone."""
    fields = _stat(pid)
    ticks = int(fields[11]) + int(fields[12]) if fields else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has held so far; 0 if it is gone."""
    for line in _read(PROC / str(pid) / "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def command(pid: int) -> str:
    """Return the command line of a process."""
    return _read(PROC / str(pid) / "cmdline").replace("\0", " ")


class PeakMemory:
    """Watches the processes below one in the meantime, and keeps the most memory that one held."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mib = 0.0

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(SAMPLE_EVERY_S):
            self.mib = max([self.mib, *(peak_mib(child) for child in descendants(self._pid))])


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, which may hold spaces."""
    return _read(PROC / str(pid) / "stat").rpartition(") ")[2].split()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # the process has ended, or this system has no /proc
        return ""
