"""`attune bench learning`: every row at every precision, as a table and as JSON.

This module decides what is measured and in which order, and collects the results. On processors
both sides take turns. On a GPU they run one after the other, because each needs its memory, and a
peer that cannot be installed or runs out of memory leaves our figures without a comparison.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from worker.bench import environments, pairing, peak, rows, workload
from worker.bench.pairing import StepFigures
from worker.bench.rows import BenchLine, JsonObject
from worker.bench.workload import Dtype, RowName, Shape, Workload
from worker.rlhf.model import precision, starter

_TEXTS = ("The model is never read, only multiplied.",)
_CONTEXT_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure. `repeats` is the number of timed steps; None is the row's default."""

    only: tuple[RowName, ...] = workload.ROWS
    repeats: int | None = None
    gpu: bool = False
    tiny: bool = False
    cache: Path = environments.CACHE
    shapes: tuple[str, ...] = tuple(workload.GPU_SHAPES)
    """Of the models on a GPU."""


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


def chosen_shapes(names: str) -> tuple[str, ...]:
    """Parse names of shapes separated by commas; an empty string means all.

    Raises:
        ValueError: naming a shape that does not exist.
    """
    requested = [name.strip().lower() for name in names.split(",") if name.strip()]
    for name in requested:
        if name not in workload.GPU_SHAPES:
            known = ", ".join(workload.GPU_SHAPES)
            raise ValueError(f"shapes are {known}; there is no shape {name!r}")
    return tuple(name for name in workload.GPU_SHAPES if not requested or name in requested)


def works(options: BenchOptions) -> Iterator[Workload]:
    """Yield the work of each row at each precision, or each shape, that is measured."""
    if options.gpu:
        for shape in options.shapes:
            for row in options.only:
                work = replace(workload.GPU_SIZES[row], shape=workload.GPU_SHAPES[shape])
                yield replace(work, steps=(options.repeats or work.steps - 1) + 1)
        return
    for row in options.only:
        for dtype in _precisions(options):
            work = workload.tiny(row) if options.tiny else workload.SIZES[row]
            yield replace(work, dtype=dtype, steps=(options.repeats or work.steps - 1) + 1)


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
        tell(f"{_name(work)} in {work.dtype}: {work.steps - 1} timed steps per side")
        with tempfile.TemporaryDirectory(prefix="attune-bench-") as name:
            folder = Path(name)
            prepare(work, folder)
            sides = _one_by_one if work.device == "cuda" else _in_turns
            ours, peer, why_alone = sides(work, folder, options.cache, tell)
        for variant, steps in zip(rows.variants_of(work), ours, strict=True):
            for shown in filter(None, (variant, rows.as_in_a_round(variant))):
                line = BenchLine(work, steps, peer, peaks[work.dtype], shown, why_alone)
                yield Measured(_key(line, options), line)


_Sides = tuple[list[StepFigures], StepFigures | None, str]
"""Each variant of ours, and the peer or why there is none."""


def _in_turns(work: Workload, folder: Path, cache: Path, tell: Callable[[str], None]) -> _Sides:
    peer = rows.peer_of(work, cache, tell)
    *ours, theirs = pairing.run([*rows.programs(work), peer], work, folder)
    return ours, theirs, ""


def _one_by_one(work: Workload, folder: Path, cache: Path, tell: Callable[[str], None]) -> _Sides:
    ours = [pairing.run([program], work, folder)[0] for program in rows.programs(work)]
    try:
        return ours, pairing.run([rows.peer_of(work, cache, tell)], work, folder)[0], ""
    except RuntimeError as error:
        why = str(error).splitlines()[-1]
        tell(f"the peer gives no figures: {why}")
        return ours, None, why


def prepare(work: Workload, folder: Path) -> None:
    """Write the work and its randomly initialized model."""
    shape = work.shape
    sizes = {"width": shape.width, "layers": shape.layers, "heads": shape.heads}
    if shape.feed_forward is None:  # of the starter's proportions
        built = starter.build(_TEXTS, vocab_size=shape.vocabulary, seed=workload.SEED, **sizes)
        model = built.model
    else:  # its vocabulary is larger than what the texts give
        built = starter.build(_TEXTS, vocab_size=workload.TINY.vocabulary, seed=workload.SEED)
        model = _published(shape, work.device, built.tokenizer)
    workload.write(work, folder)
    model.save_pretrained(folder / workload.MODEL_FOLDER)
    built.tokenizer.save_pretrained(folder / workload.MODEL_FOLDER)
    del model
    if work.device == "cuda":
        torch.cuda.empty_cache()  # the sides need all of the memory


def _published(shape: Shape, device: str, tokenizer: Any) -> Any:
    """Return a model of a published shape with random weights, in bf16 on the device."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward or 4 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=_CONTEXT_TOKENS,
        tie_word_embeddings=shape.ties_embeddings,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(workload.SEED)
    with torch.device(device):
        return cast(Any, AutoModelForCausalLM).from_config(config, dtype=torch.bfloat16)


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
    """Return the key of a line: shape, row, precision and variant, without the defaults."""
    work = line.work
    dtype = None if work.dtype == _precisions(options)[0] else work.dtype
    return ".".join(filter(None, (_name(work), dtype, line.variant.key)))


def _name(work: Workload) -> str:
    """Return the row, after the shape if it is one of the GPU's; a dot in it would be a level."""
    shapes = {shape: name.replace(".", "_") for name, shape in workload.GPU_SHAPES.items()}
    return ".".join(filter(None, (shapes.get(work.shape), work.row)))
