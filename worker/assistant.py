"""Lends a host to the training jobs of another host's worker, one after another.

It takes no jobs, and needs no database: when the first host opens an attempt (see `meeting`), this
one starts its processes, which join those of the first. They end with it, and the next is awaited.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from worker import meeting
from worker.launcher import JOINS, USES_CPU, HostGroup, Meeting, environment, together

CHILD: Final = (sys.executable, "-m", "worker.runs", "assist")
LOG: Final = "assist.log"
LOOK_S: Final = 1.0
"""Between two looks for an attempt."""
GRACE_S: Final = 10.0

log = structlog.get_logger(__name__)


class Assistant:
    """The host that assists.

    Args:
        group: the hosts, and where they meet.
        processes: on this host, as many as on the first.
        work: the folder of the work, which all hosts share; the log is written there.
        device: that the processes compute on.
    """

    def __init__(self, group: HostGroup, processes: int, work: Path, device: str = "auto") -> None:
        self.group, self.processes, self.work, self.device = group, processes, work, device
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the processes of the current job, and assist in no other."""
        self._stopping.set()

    def run(self) -> None:
        """Assist in jobs as they come, until `stop`."""
        log.info("assisting", rendezvous=self.group.rendezvous, processes=self.processes)
        last = ""
        while not self._stopping.wait(LOOK_S):
            attempt = meeting.current(self.work)
            if not attempt or attempt == last:
                continue
            last = attempt
            if not meeting.join(self.work, attempt) or not self._assist(attempt):
                meeting.leave(self.work, attempt)

    def _assist(self, attempt: str) -> bool:
        """Take part in an attempt; return whether this host's part of it ended well."""
        log.info("joining a job", rendezvous=self.group.rendezvous, attempt=attempt)
        extra = {JOINS: "true"} | ({USES_CPU: "true"} if self.device == "cpu" else {})
        path = self.work / f"{socket.gethostname()}-{LOG}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as output:
            process = subprocess.Popen(
                together(CHILD, self.processes, Meeting(self.group, attempt, joins=True)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment(os.environ) | extra,
            )
        try:
            self._wait(process, attempt)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its processes must not outlive it
        log.info("left the job", status=process.returncode)
        return process.returncode == 0

    def _wait(self, process: subprocess.Popen[bytes], attempt: str) -> None:
        while process.poll() is None:
            is_over = meeting.current(self.work) != attempt
            if self._stopping.wait(LOOK_S) or is_over:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
                return
