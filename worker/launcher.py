"""Starts several connected processes of a command, and the environment that jobs run in."""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

_READABLE = {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
_HIDDEN = "ATTUNE_"  # settings, the secret among them, are not for jobs

USES_CPU: Final = "ACCELERATE_USE_CPU"  # accelerate's own name for it


def together(command: Sequence[str], count: int) -> tuple[str, ...]:
    """Return the command that starts so many of a command, connected, on this machine.

    The first of them reads the pipe; torchrun ends all when one fails.
    """
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python")
    return (*launcher, f"--nproc-per-node={count}", *command)


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a job's environment: ours without the settings, with readable crashes.

    OpenMP threads sleep after a moment's wait: ones that go on spinning make a training step
    several times slower as soon as anything else, the web server for one, wants a core, and ones
    that sleep at once make it a fifth slower when nothing does. An operator's choice stays.
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith(_HIDDEN)}
    waiting = {} if kept.keys() & _WAITING.keys() else _WAITING
    return waiting | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"} | kept | _READABLE
