"""One module per kind of job, each reading rows and writing rows."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

from app.errors import Invalid
from worker.loading import load_aside
from worker.runs.process.job_context import JobContext

Run = Callable[[JobContext], None]

# Modules are loaded when a job of their kind runs: an export must not wait for torch.
RUNS: Final[Mapping[str, str]] = {
    "answer": "worker.runs.answer",
    "chat": "worker.runs.chat",
    "check": "worker.runs.check",
    "evaluate": "worker.runs.evaluate",
    "export": "worker.runs.export",
    "generate": "worker.runs.generate",
    "help": "worker.runs.help",
    "import": "worker.runs.import_",
    "judge": "worker.runs.judge",
    "merge": "worker.runs.merge",
    "policy": "worker.runs.policy",
    "push": "worker.runs.push",
    "reward": "worker.runs.reward",
    "score": "worker.runs.score",
    "sft": "worker.runs.sft",
    "words": "worker.runs.words",
}

_ON_ROWS: Final = ("export", "import", "words")
"""Kinds that compute little, and may start while people label on the same machine."""


def find(kind: str) -> Run:
    """Return the run of a kind of job.

    Raises:
        Invalid: there is no such kind.
    """
    if kind not in RUNS:
        raise Invalid(f"a job's kind must be one of {', '.join(RUNS)}, not {kind!r}")
    load = load_aside if kind in _ON_ROWS else import_module
    run: Run = load(RUNS[kind]).run
    return run
