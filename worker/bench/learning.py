"""`attune bench learning`: every row at every precision, as a table and as JSON.

This module decides what is measured and in which order, and collects the results.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from worker.bench import environments, pairing, peak, rows, workload
from worker.bench.rows import BenchLine, JsonObject
from worker.bench.workload import Dtype, RowName, Workload
from worker.rlhf.model import precision, starter


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure. `repeats` is the number of timed steps; None is the row's default."""

    only: tuple[RowName, ...] = workload.ROWS
    repeats: int | None = None
    gpu: bool = False
    tiny: bool = False
    cache: Path = environments.CACHE


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured line with its key in the JSON."""

    key: str
    line: BenchLine


def chosen(names: str) -> tuple[RowName, ...]:
    """Parse names of rows separated by commas; an empty string means all.

    Raises:
        ValueError: naming a row that does not exist.
    """
    requested = [name.strip() for name in names.split(",") if name.strip()]
    for name in requested:
        if name not in workload.ROWS:
            raise ValueError(f"rows are {', '.join(workload.ROWS)}; there is no row {name!r}")
    return tuple(row for row in workload.ROWS if not requested or row in requested)


def works(options: BenchOptions) -> Iterator[Workload]:
    """Yield the work of each row at each precision that the machine supports."""
    for row in options.only:
        for dtype in _precisions(options):
            work = workload.tiny(row) if options.tiny else workload.SIZES[row]
            work = replace(work, dtype=dtype, steps=(options.repeats or work.steps - 1) + 1)
            yield replace(work, device="cuda", shape=workload.HALF_BILLION) if options.gpu else work


def measure(options: BenchOptions, tell: Callable[[str], None]) -> Iterator[Measured]:
    """Measure each work and yield its lines.

    Raises:
        ValueError: if a GPU is requested and there is none, or no step would be timed.
    """
    if options.gpu and not torch.cuda.is_available():
        raise ValueError("--gpu needs a CUDA device, but torch finds none")
    if options.repeats is not None and options.repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {options.repeats}")
    device = "cuda" if options.gpu else "cpu"
    peaks = {dtype: peak.matmul_flops_per_s(dtype, device) for dtype in _precisions(options)}
    for work in works(options):
        tell(f"{work.row} in {work.dtype}: {work.steps - 1} timed steps per side")
        with tempfile.TemporaryDirectory(prefix="attune-bench-") as name:
            folder = Path(name)
            prepare(work, folder)
            *ours, peer = pairing.run(rows.programs(work, options.cache, tell), work, folder)
        for variant, steps in zip(rows.variants_of(work), ours, strict=True):
            for shown in filter(None, (variant, rows.as_in_a_round(variant))):
                line = BenchLine(work, steps, peer, peaks[work.dtype], shown)
                yield Measured(_key(line, options), line)


def prepare(work: Workload, folder: Path) -> None:
    """Write the work and its randomly initialized model."""
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


def to_json(measured: Sequence[Measured], device: str) -> JsonObject:
    """Return the figures nested by the parts of their keys, which are separated by dots."""
    peaks = {result.line.work.dtype: round(result.line.peak) for result in measured}
    figures: dict[str, object] = {"machine": {**peak.machine(device), "matmul_flops_per_s": peaks}}
    for result in measured:
        level = figures
        *parents, name = result.key.split(".")
        for parent in parents:
            level = level.setdefault(parent, {})  # type: ignore[assignment]
        level[name] = {**result.line.to_json(), **level.get(name, {})}  # type: ignore[dict-item]
    return figures


def _precisions(options: BenchOptions) -> tuple[Dtype, ...]:
    if options.gpu:
        return ("bf16",)
    return ("fp32", "bf16") if precision.has_fast_bf16() and not options.tiny else ("fp32",)


def _key(line: BenchLine, options: BenchOptions) -> str:
    """Return the key of a line: the row, then the precision and the variant unless default."""
    work = line.work
    dtype = None if work.dtype == _precisions(options)[0] else work.dtype
    return ".".join(filter(None, (work.row, dtype, line.variant.key)))
