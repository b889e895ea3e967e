"""The command that starts several connected processes, and the environment that jobs run in."""

import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

_READABLE = {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
_HIDDEN = "ATTUNE_"  # settings, including the secret, are kept from jobs

USES_CPU: Final = "ACCELERATE_USE_CPU"  # accelerate's own name for it
JOINS: Final = "JOINS_ANOTHER_HOST"
"""Set in processes on a host that joins another host's job: none of them is the first."""

JOIN_S: Final = 24 * 3600
"""How long the first host waits for the others; its job can be canceled meanwhile."""


@dataclass(frozen=True, slots=True)
class HostGroup:
    """Hosts that share each training job.

    Attributes:
        hosts: their number.
        rendezvous: host and port of the first one, where the others join.
    """

    hosts: int
    rendezvous: str


@dataclass(frozen=True, slots=True)
class Meeting:
    """An attempt of a job by a group of hosts, which the first one opens and the others join."""

    group: HostGroup
    attempt: str
    joins: bool = False


def together(command: Sequence[str], count: int, meeting: Meeting | None = None) -> tuple[str, ...]:
    """Return the command that starts `count` connected processes of a command on this machine.

    The first process reads the pipe; torchrun ends all of them when one fails. In a group, as many
    run on every host: the first host opens the rendezvous, and the others join it.
    """
    launcher = (sys.executable, "-m", "torch.distributed.run", "--no-python")
    count_of = f"--nproc-per-node={count}"
    if meeting is None:
        return (*launcher, "--standalone", count_of, *command)
    return (
        *launcher,
        f"--nnodes={meeting.group.hosts}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={meeting.group.rendezvous}",
        f"--rdzv-id={meeting.attempt}",
        f"--rdzv-conf=is_host={str(not meeting.joins).lower()},join_timeout={JOIN_S}",
        count_of,
        *command,
    )


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a job's environment: ours without the settings, with readable crashes.

    OpenMP threads spin briefly, then sleep. Threads that keep spinning make a training step several
    times slower as soon as anything else, such as the web server, needs a core; threads that sleep
    immediately make it 20% slower on an idle machine. Values set by the operator are kept.
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith(_HIDDEN)}
    let_threads_sleep(kept)
    return {"HF_HUB_DISABLE_PROGRESS_BARS": "1"} | kept | _READABLE


def let_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Add to an environment that waiting threads soon sleep, unless it says how they wait.

    OpenMP reads it when torch is loaded.
    """
    if not environment.keys() & _WAITING.keys():
        environment.update(_WAITING)
