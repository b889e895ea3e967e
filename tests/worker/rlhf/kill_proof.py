"""Kill training at random moments and compare the result with that of an undisturbed run.

    python -m tests.worker.rlhf.kill_proof [--kills N] [--seed N] [ALGORITHM …]

Every algorithm is run twice in separate processes: once undisturbed, and once killed (SIGKILL)
shortly after each of N random steps, possibly while saving, and restarted from the newest complete
state. At the end both must be bit-equal: the trained weights, the best weights, the optimizers, the
random generators, and the history of the stopping rules. The hashes printed are of the weights. The
exit status is 1 if anything differs.
"""

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from tests.worker.rlhf import killed_runs
from tests.worker.rlhf.killed_runs import STEPS, Begun
from worker import artifacts
from worker.rlhf.core.training_state import TrainingState

DIGEST, WHOLE = "digest", "whole"


Begin = Callable[[TrainingState], Begun]


@dataclass(frozen=True, slots=True)
class Proof:
    """Hashes of the weights and of the whole state, of the undisturbed run first."""

    algorithm: str
    kills: int
    weights: tuple[str, str]
    states: tuple[str, str]

    @property
    def holds(self) -> bool:
        """Whether both runs ended with equal weights and states."""
        return len(set(self.weights)) == len(set(self.states)) == 1


def prove(algorithm: str, begin: Begin, kills: int, seed: int) -> Proof:
    """Run an algorithm undisturbed, then with `kills` kills, and return the hashes of both."""
    chance = random.Random(f"{algorithm} {seed}")
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder) / "undisturbed"
        undisturbed.mkdir()
        began = time.monotonic()
        _Attempt(begin, undisturbed, lease=1, saves=False).wait()
        step_s = (time.monotonic() - began) / STEPS
        killed = Path(folder) / "killed"
        killed.mkdir()
        done = 0
        for lease, step in enumerate(sorted(chance.sample(range(1, STEPS), kills)), start=1):
            done += _Attempt(begin, killed, lease).killed_after(step, chance.uniform(0.0, step_s))
        _Attempt(begin, killed, lease=kills + 1).wait()
        weights, states = (
            ((undisturbed / name).read_text(), (killed / name).read_text())
            for name in (DIGEST, WHOLE)
        )
        return Proof(algorithm, done, weights, states)


class _Attempt:
    """One process of a run: continues from the newest complete state and reports every step."""

    def __init__(self, begin: Begin, folder: Path, lease: int, *, saves: bool = True) -> None:
        self._begin, self._folder, self._lease, self._saves = begin, folder, lease, saves
        self._steps, report_fd = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._steps)
            self._run(report_fd)
        os.close(report_fd)

    def killed_after(self, step: int, pause_s: float) -> bool:
        """Kill the process shortly after a step; return whether it was still running."""
        for reported in self._reported_steps():
            if reported >= step:
                time.sleep(pause_s)
                break
        os.kill(self._pid, signal.SIGKILL)
        return self._reap() == -signal.SIGKILL

    def wait(self) -> None:
        """Wait for the process to end."""
        for _ in self._reported_steps():
            pass
        status = self._reap()
        if status:
            raise RuntimeError(f"a run ended with {status}")

    def _reported_steps(self) -> Iterator[int]:
        while byte := os.read(self._steps, 1):
            yield byte[0]

    def _reap(self) -> int:
        os.close(self._steps)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _run(self, report_fd: int) -> NoReturn:
        status = 1
        try:
            _seed(self._lease)  # differs per attempt: restored generators must override it
            state = TrainingState()
            newest = artifacts.newest_state(self._folder)
            if newest is not None:
                state.restore(newest)
            begun = self._begin(state)
            for report in begun.loop:
                if self._saves:
                    artifacts.save_state(self._folder, report.step, self._lease, state.save)
                os.write(report_fd, bytes([report.step]))
            (self._folder / DIGEST).write_text(_digest(begun.weights()))
            state.save(self._folder / "end")
            (self._folder / WHOLE).write_text(_hash(self._folder / "end"))
            status = 0
        finally:
            os._exit(status)


def _seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def _digest(weights: Mapping[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode())
        found.update(weights[name].detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def _hash(folder: Path) -> str:
    """Return the hash of a saved state; the weights in it may be the best, not the last."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        found.update(path.read_bytes())
    return found.hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Run the chosen proofs, print the results, and return the exit status."""
    parser = argparse.ArgumentParser(prog="kill_proof", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("algorithms", nargs="*", default=[], metavar="ALGORITHM")
    parser.add_argument("--kills", type=int, default=20, help=f"1 to {STEPS - 1} in each")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # before any work, so that a fork finds no thread to miss
    holds = True
    for algorithm in given.algorithms or killed_runs.ALGORITHMS:
        began = time.monotonic()
        begin = killed_runs.ALGORITHMS[algorithm]
        proof = prove(algorithm, begin, given.kills, given.seed)
        holds &= proof.holds
        seconds = time.monotonic() - began
        sys.stdout.write(
            f"{algorithm:<10} {proof.kills:>3} kills in {STEPS} steps, {seconds:5.1f} s: "
            f"{proof.weights[0][:16]} {'the same' if proof.holds else 'NOT THE SAME'} "
            f"{proof.weights[1][:16]}\n"
        )
        sys.stdout.flush()
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
