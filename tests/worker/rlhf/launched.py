"""Starts a test module in several connected processes, as a launcher would, and waits."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing

PATIENCE_S = 300.0


def together(arguments: Sequence[str], count: int) -> list[tuple[int, str]]:
    """Run `python -m` with arguments in so many processes; return each one's status and output.

    When one fails, the others are killed.
    """
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched = os.environ | {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    launched |= {"MASTER_PORT": port, "LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=launched | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(count)
    ]
    outputs: list[bytes] = []
    for process in reversed(processes):
        outputs.insert(0, process.communicate(timeout=PATIENCE_S)[0])
        if process.returncode:
            for other in processes:
                other.kill()
    return [
        (process.returncode, output.decode())
        for process, output in zip(processes, outputs, strict=True)
    ]
