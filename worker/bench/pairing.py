"""Alternating measurement of processes on the same work, and the figures of their steps.

The sides alternate step by step, so that other load on the machine affects them equally; a waiting
side uses no processor.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import IO, Any

from worker.bench.workload import Workload

SOURCES = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Program:
    """A side's program: a module, run by an interpreter with the folder of the work."""

    python: Path
    module: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepFigures:
    """The library versions of a side, and the figures of each step; the first step is not timed.

    There is at least one timed step.
    """

    versions: dict[str, str]
    figures: tuple[dict[str, float], ...]

    @property
    def seconds(self) -> float:
        """The median of the timed steps."""
        return median(step["seconds"] for step in self.figures[1:])

    @property
    def flops_per_s(self) -> float:
        """Operations in the matrix products and attentions of a step, per second."""
        return self.figures[0]["flops"] / self.seconds

    @property
    def memory_bytes(self) -> float:
        """Peak memory above that of the loaded libraries."""
        return max(step["memory_bytes"] for step in self.figures)

    def curve(self, name: str) -> list[float]:
        """Return a figure of every step."""
        return [step[name] for step in self.figures]

    def median_of(self, name: str) -> float:
        """Return the median of a figure over the timed steps."""
        return median(step[name] for step in self.figures[1:])


class _Process:
    """A side's process, run one step at a time."""

    def __init__(self, program: Program, folder: Path, log: IO[str]) -> None:
        paths = [str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._name, self._log = program.module, log
        self._process = subprocess.Popen(
            [program.python, "-m", program.module, folder, *program.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"},
        )
        self.figures: list[dict[str, float]] = []

    def __enter__(self) -> "_Process":
        self.versions: dict[str, str] = self._read()["versions"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def step(self, order: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        self.figures.append(self._read()["figures"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failure()
        message: dict[str, Any] = json.loads(line)
        return message

    def _failure(self) -> RuntimeError:
        self._log.flush()
        output = Path(self._log.name).read_text()[-800:].strip()
        return RuntimeError(f"{self._name} ended early: {output}")


def run(sides: Sequence[Program], work: Workload, folder: Path) -> list[StepFigures]:
    """Alternate between the sides until all have done the steps of the work.

    Raises:
        RuntimeError: if one ends early, with the end of its output.
    """
    with ExitStack() as stack:
        processes = []
        for number, program in enumerate(sides):
            log = stack.enter_context((folder / f"side-{number}.log").open("w"))
            processes.append(stack.enter_context(_Process(program, folder, log)))
        for step in range(work.steps):
            for process in processes:
                process.step("time" if step else "count")
        return [StepFigures(side.versions, tuple(side.figures)) for side in processes]
