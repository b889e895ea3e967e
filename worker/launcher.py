"""The command that starts several connected processes, and the environment that jobs run in."""

import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final

_READABLE = {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
_HIDDEN = "ATTUNE_"  # settings, including the secret, are kept from jobs

USES_CPU: Final = "ACCELERATE_USE_CPU"  # accelerate's own name for it


def together(command: Sequence[str], count: int) -> tuple[str, ...]:
    """Return the command that starts `count` connected processes of a command on this machine.

    The first process reads the pipe; torchrun ends all of them when one fails.
    """
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python")
    return (*launcher, f"--nproc-per-node={count}", *command)


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
