"""The rest of a large export, written by two processes of its job while nobody labels.

Reading pages and making rows is Python, so that one process uses one core. A second one on the same
machine writes parts into the folder of the job, and the job writes those between them and puts all
in order. The second process ends with its standard input, so it never outlives the job. If it ends
earlier, its error is in the job's log, and the job writes the rest alone.
"""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Final, Self

from app.db import Database
from app.services.datasets import dedicated_process, export_rows, labelers_at_work
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.datasets.read_pace import ReadPace
from worker.runs import export_part, judged_pages
from worker.runs.judged_pages import Ids
from worker.runs.process import shard_work
from worker.runs.process.job_context import JobContext
from worker.ticket import EXIT_ORPHANED

START_S: Final = 2.0
"""What the second process needs to start on a busy machine."""
PAGES: Final = 4
"""Pages of a part: few, because parts lie on the disk until they are in the file."""
AHEAD: Final = 2
"""The most parts that the second process has or has written, so that it need not wait."""

_WAIT_S = 0.005
_READY = "ready"
_UNFINISHED = "unfinished"


def pays(database: Database, left: int, each_s: float) -> bool:
    """Whether a second process would take a fair part of what is left, and nobody waits for it."""
    if _cores() < 2 or left * each_s <= 2 * START_S:
        return False
    return not _people_label(database)


def lines(
    context: JobContext,
    what: Mapping[str, Any],
    bounds: Sequence[int | None],
    account: Account,
    pace: ReadPace,
) -> Iterator[bytes]:
    """Yield the lines of the comparisons between these ids, and account for them."""
    ranges = list(pairwise(bounds))
    options = ExportOptions.from_json(what["options"])
    with SecondProcess(context, what) as second:
        for number, (after, until) in enumerate(ranges):
            shard_work.obey(context)
            second.give(ranges, number)
            if (folder := second.written(number)) is not None:
                yield from export_part.lines(folder, account)
                shutil.rmtree(folder)
                continue
            comparisons = judged_pages.stream(
                *(context.database, what["project_id"], what["format"], options, account),
                ids=Ids(after or 0, until),
                pace=pace,
            )
            yield from export_rows.write(comparisons, what["format"], options, account)


class SecondProcess:
    """The second process, as the job sees it.

    Attributes:
        given: the parts that it has or has written, and that are not in the file yet.
    """

    def __init__(self, context: JobContext, what: Mapping[str, Any]) -> None:
        self.given: deque[int] = deque()
        self._context = context
        self._folder = context.workdir / "second-process"
        self._next = 0
        shutil.rmtree(self._folder, ignore_errors=True)  # of an earlier attempt
        self._folder.mkdir()
        # Connections cannot be inherited, and a fork would: it is a process like the job's own.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.runs.paired_export"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        url = context.database.engine.url.render_as_string(hide_password=False)
        self._send({"database_url": url, "folder": str(self._folder), "what": dict(what)})

    def __enter__(self) -> Self:
        """Leave it to the process to say when it is ready."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def give(self, ranges: Sequence[tuple[int | None, int | None]], number: int) -> None:
        """Give it every other part after the one that comes next in the file, but not many ahead.

        While people label it gets none.
        """
        while len(self.given) < AHEAD and self.is_ready:
            self._next = max(self._next, number + 1)
            if self._next >= len(ranges) or _people_label(self._context.database):
                return
            after, until = ranges[self._next]
            self._send({"number": self._next, "after": after, "until": until})
            self.given.append(self._next)
            self._next += 2

    def written(self, number: int) -> Path | None:
        """Wait for a part that it was given, and return its folder; None if it does not write it.

        Raises:
            Interrupted: the job was asked to stop.
        """
        if not self.given or self.given[0] != number:
            return None
        self.given.popleft()
        folder = self._folder / str(number)
        while not folder.exists():
            if not self.is_alive and not folder.exists():  # it may have been its last
                status = self._process.returncode
                self._context.say(f"second process ended with status {status}; see the error above")
                return None
            shard_work.obey(self._context)
            time.sleep(_WAIT_S)
        return folder

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether it has started and can write parts."""
        return self.is_alive and (self._folder / _READY).exists()

    @property
    def _stdin(self) -> IO[bytes]:
        if self._process.stdin is None:
            raise RuntimeError("the process was started without a pipe")
        return self._process.stdin

    def _send(self, content: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError):  # it has ended, which is seen when its part is wanted
            self._stdin.write(json.dumps(content).encode() + b"\n")
            self._stdin.flush()


def _people_label(database: Database) -> bool:
    with database.long_reader() as session:
        return labelers_at_work.asked_lately(session)


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main() -> None:
    """Write the parts that standard input names, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C ends the job, and so the input
    parts: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(parts,), daemon=True).start()
    first = parts.get()
    dedicated_process.adapt()
    gc.disable()  # pages have no reference cycles
    database, pace = Database(first["database_url"], pool_size=1), ReadPace()
    folder = Path(first["folder"])
    (folder / _READY).touch()
    while True:
        part = parts.get()
        export_part.write(database, folder / _UNFINISHED, {**first["what"], **part}, pace=pace)
        (folder / _UNFINISHED).rename(folder / str(part["number"]))


def _listen(parts: SimpleQueue[Mapping[str, Any]]) -> None:
    for line in sys.stdin:
        parts.put(json.loads(line))
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    main()
