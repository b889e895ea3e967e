"""`attune bench learning`: every row at every precision, as a table and as JSON.

Nothing is measured here; this decides what is, in which order, and puts it together.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from worker.bench import environments, pairing, peak, rows, workload
from worker.bench.rows import BenchLine, Json
from worker.bench.workload import Dtype, RowName, Workload
from worker.rlhf.model import models, starter


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure. `repeats` are timed steps; None is each row's own number."""

    only: tuple[RowName, ...] = workload.ROWS
    repeats: int | None = None
    gpu: bool = False
    tiny: bool = False
    cache: Path = environments.CACHE


@dataclass(frozen=True, slots=True)
class Measured:
    """One line of the table: its key in the JSON, and the line."""

    key: str
    line: BenchLine


def chosen(names: str) -> tuple[RowName, ...]:
    """Read names of rows separated by commas; nothing means all.

    Raises:
        ValueError: naming the row that does not exist.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in workload.ROWS:
            raise ValueError(f"rows are {', '.join(workload.ROWS)}; there is no row {name!r}")
    return tuple(row for row in workload.ROWS if not wanted or row in wanted)


def works(options: BenchOptions) -> Iterator[Workload]:
    """Yield the work of each row at each precision that the machine has."""
    for row in options.only:
        for dtype in _precisions(options):
            work = workload.tiny(row) if options.tiny else workload.SIZES[row]
            work = replace(work, dtype=dtype, steps=(options.repeats or work.steps - 1) + 1)
            yield replace(work, device="cuda", shape=workload.HALF_BILLION) if options.gpu else work


def measure(options: BenchOptions, tell: Callable[[str], None]) -> Iterator[Measured]:
    """Measure work by work and yield its lines.

    Raises:
        ValueError: if a GPU was asked for and there is none, or no step would be timed.
    """
    if options.gpu and not torch.cuda.is_available():
        raise ValueError("--gpu needs a CUDA device, and torch finds none here")
    if options.repeats is not None and options.repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {options.repeats}")
    device = "cuda" if options.gpu else "cpu"
    peaks = {dtype: peak.matmul_flops_per_s(dtype, device) for dtype in _precisions(options)}
    for work in works(options):
        tell(f"{work.row} in {work.dtype}: {work.steps - 1} timed steps of each side")
        with tempfile.TemporaryDirectory(prefix="attune-bench-") as name:
            folder = Path(name)
            prepare(work, folder)
            *ours, peer = pairing.run(rows.programs(work, options.cache, tell), work, folder)
        for variant, steps in zip(rows.variants_of(work), ours, strict=True):
            line = BenchLine(work, steps, peer, peaks[work.dtype], variant)
            yield Measured(_key(line, options), line)


def prepare(work: Workload, folder: Path) -> None:
    """Write the work and its random model."""
    shape = work.shape
    built = starter.build(
        ["The model is never read, only multiplied."],
        vocab_size=shape.vocabulary,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        seed=workload.SEED,
    )
    workload.write(work, folder)
    built.model.save_pretrained(folder / workload.MODEL_FOLDER)
    built.tokenizer.save_pretrained(folder / workload.MODEL_FOLDER)


def to_json(measured: Sequence[Measured], device: str) -> Json:
    """Return the figures under the keys of the table; a dot in a key is a level."""
    peaks = {each.line.work.dtype: round(each.line.peak) for each in measured}
    found: dict[str, object] = {"machine": {**peak.machine(device), "matmul_flops_per_s": peaks}}
    for each in measured:
        place = found
        *levels, last = each.key.split(".")
        for level in levels:
            place = place.setdefault(level, {})  # type: ignore[assignment]
        place[last] = {**each.line.to_json(), **place.get(last, {})}  # type: ignore[dict-item]
    return found


def _precisions(options: BenchOptions) -> tuple[Dtype, ...]:
    if options.gpu:
        return ("bf16",)
    return ("fp32", "bf16") if models.has_native_bf16() and not options.tiny else ("fp32",)


def _key(line: BenchLine, options: BenchOptions) -> str:
    """Name a line: the first precision is the row itself, others and other ways are under it."""
    work = line.work
    dtype = None if work.dtype == _precisions(options)[0] else work.dtype
    return ".".join(filter(None, (work.row, dtype, line.variant.key)))
