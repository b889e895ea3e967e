"""Two workers on machines of their own, one of which is cut off from the network and comes back.

Each worker runs in a network namespace with its own address; the database listens at this end of
both cables. The first worker's cable is cut in the middle of a job, which the second one takes
over. When it comes back, what the first worker computed must not count.
"""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.db import Database
from app.domain.states import JobState
from app.models import Job
from tests.faults import workers
from tests.faults.proof.rows import NotMeasured, Outcome, Place, beyond_none, counted, own_postgres
from tests.faults.workers import Began

NETWORK = "10.213"  # two networks of two addresses each
SERVER = f"{NETWORK}.0.1"


@dataclass(frozen=True, slots=True)
class Machine:
    """A network namespace with an address, at the end of a cable."""

    namespace: str
    cable: str  # its end here

    def cut(self) -> None:
        """Pull the cable out; nobody is told."""
        _ip("link", "set", self.cable, "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.cable, "up")

    @property
    def command(self) -> tuple[str, ...]:
        """What runs a command on this machine."""
        return ("ip", "netns", "exec", self.namespace)


def measure(place: Place) -> Outcome:
    """Cut the first worker off in the middle of each job, and let it back once it is taken over."""
    cuts = place.scale.count(1, 20)
    twice = lost = fenced = 0
    with ExitStack() as stack:
        machines = [stack.enter_context(_machine(number)) for number in range(2)]
        postgres = stack.enter_context(own_postgres(SERVER, f"{NETWORK}.0.0/16"))
        url = stack.enter_context(postgres.database())
        database = Database(url)
        stack.callback(database.dispose)
        for number in range(cuts):
            job, results = _cut_off(database, place.room(f"partition-{number}"), machines)
            lost += job.state != JobState.SUCCEEDED or results == 0
            twice += max(0, results - 1)
            fenced += job.fenced_writes
    return Outcome(
        f"{twice} results counted twice, {lost} jobs lost, {fenced} late writes refused",
        f"{counted(cuts, 'cut')}: two workers in network namespaces with their own "
        "addresses, PostgreSQL",
        beyond_none(twice + lost, "such result"),
        {"cuts": cuts, "twice": twice, "lost": lost, "fenced_writes": fenced},
    )


def _cut_off(database: Database, folder: Path, machines: list[Machine]) -> tuple[Job, int]:
    """Run a job whose worker is cut off until another has finished it; return what came of it."""
    flag, started = folder / "flag", folder / "started"
    job_id = workers.enqueue(database, "patient", flag=str(flag), started=str(started))
    rooms = [folder / "first", folder / "second"]
    for room in rooms:
        room.mkdir()
    with Began(database, rooms[0], command=machines[0].command) as first:
        pid = workers.child_pid(database, job_id)
        workers.until(started.exists, "the start of the job")
        machines[0].cut()
        try:
            with Began(database, rooms[1], command=machines[1].command):
                workers.until(
                    lambda: workers.read(database, job_id).lease_token == 2, "the takeover"
                )
                flag.touch()  # from now on both compute the same result
                workers.until_over(database, job_id)
        finally:
            machines[0].plug_in()
        workers.until(
            lambda: not workers.is_alive(pid) or first.process.poll() is not None,
            "the end of the process that was cut off",
        )
        time.sleep(workers.QUICK.heartbeat_s)
        return workers.read(database, job_id), workers.results(database, job_id)


@contextmanager
def _machine(number: int) -> Iterator[Machine]:
    """Make a namespace with a cable to here.

    Raises:
        NotMeasured: this process may not make one.
    """
    name = f"at{secrets.token_hex(3)}"
    machine = Machine(name, f"{name}h")
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NotMeasured("network namespaces take root and the command ip")
    here, there = f"{NETWORK}.{number}.1", f"{NETWORK}.{number}.2"
    try:
        _ip("netns", "add", name)
        try:
            _ip("link", "add", machine.cable, "type", "veth", "peer", "name", f"{name}n")
            _ip("link", "set", f"{name}n", "netns", name)
            _ip("addr", "add", f"{here}/24", "dev", machine.cable)
            machine.plug_in()
            inside = ("-n", name)
            _ip(*inside, "addr", "add", f"{there}/24", "dev", f"{name}n")
            _ip(*inside, "link", "set", "lo", "up")
            _ip(*inside, "link", "set", f"{name}n", "up")
            _ip(*inside, "route", "add", "default", "via", here)
            yield machine
        finally:
            _ip("netns", "del", name)  # with both ends of its cable
    except subprocess.CalledProcessError as error:
        raise NotMeasured(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from error


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
