"""Which decoding engine computes what the model does, found out by running it.

Caches differ more between architectures than layouts do: sliding windows, recurrent states with
padding on the left, states of the library's own that no cache holds. Each engine therefore decodes
random tokens on a miniature of the model (see `miniature`), beyond its window, with unequal
prompts, repeated and dropped rows, and is compared with separate passes over the whole texts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from worker.rlhf.core import batches
from worker.rlhf.core.layout_probe import FAILURES
from worker.rlhf.model import encoder_decoder, miniature, models, sharding
from worker.rlhf.sampling.decoding import DecodingEngine, FusedEngine, can_fuse
from worker.rlhf.sampling.encoder_decoding import EncoderDecoderEngine
from worker.rlhf.sampling.general_decoding import GeneralEngine, RecomputingEngine

CacheUse = Literal["fused", "cached", "recomputed"]

PROMPTS: Final = (3, 9, 6)
REPEATS: Final = 2
NEW_TOKENS: Final = 8
DROPPED_AFTER: Final = 3
KEPT: Final = (0, 5, 2, 3)
TOLERANCE: Final = 1e-3

Make = Callable[[PreTrainedModel, torch.dtype], DecodingEngine]
ENGINES: Final[Mapping[CacheUse, Make]] = {
    "fused": FusedEngine,
    "cached": GeneralEngine,
    "recomputed": RecomputingEngine,
}


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine for a model, and what was wrong with faster ones."""

    use: CacheUse
    why: str


_choices: dict[str, EngineChoice] = {}


def engine(model: PreTrainedModel, dtype: torch.dtype) -> DecodingEngine:
    """Return the fastest engine that is right for the model with its active adapters.

    Raises:
        ValueError: if none is.
    """
    if encoder_decoder.is_one(model):
        return EncoderDecoderEngine(model, dtype)
    return ENGINES[choose(model).use](model, dtype)


def choose(model: PreTrainedModel) -> EngineChoice:
    """Return the fastest engine that is right for the model; probed once per configuration.

    Raises:
        ValueError: naming the model type, if none is.
    """
    if encoder_decoder.is_one(model):
        return EngineChoice("cached", "the encoder's output, and a cache for the response")
    if can_fuse(model):
        return EngineChoice("fused", "merged weights and a cache allocated once")
    key = f"{type(model).__name__} {model.config.to_json_string(use_diff=False)}"
    if key not in _choices:
        _choices[key] = probe(_subject(model))
    return _choices[key]


def probe(model: PreTrainedModel) -> EngineChoice:
    """Try the general engines on a model in fp32.

    Raises:
        ValueError: naming the model type, if each differs from the model.
    """
    problem = mismatch(model, GeneralEngine)
    if problem is None:
        return EngineChoice("cached", "decoding with the cache agrees with whole passes")
    remaining = mismatch(model, RecomputingEngine)
    if remaining is None:
        return EngineChoice("recomputed", f"its cache cannot be used: {problem}")
    raise ValueError(
        f"models of type {model.config.model_type!r} cannot be sampled: decoding token by token "
        f"differs from whole passes ({remaining})"
    )


@torch.no_grad()
def mismatch(model: PreTrainedModel, make: Make) -> str | None:
    """Return how an engine differs from passes over the whole texts, or None if it agrees."""
    try:
        difference = _difference(model, make(model, torch.float32))
    except FAILURES as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return None if difference <= TOLERANCE else f"logits differ by {difference:.2g}"


def _subject(model: PreTrainedModel) -> PreTrainedModel:
    """Return a miniature, or the model itself where none can be made."""
    try:
        small = miniature.build(model.config, type(model))
        models.prepare(small)
    except miniature.FAILURES:
        return model
    return small


def _difference(model: PreTrainedModel, decoding: DecodingEngine) -> float:
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size

    def draw(*shape: int) -> Tensor:
        # Not the lowest ids, among which are the special ones that some models treat apart.
        return torch.randint(min(4, vocabulary - 1), vocabulary, shape, generator=generator)

    texts = [draw(length).tolist() for length in PROMPTS]
    padded = batches.pad([(text, ()) for text in texts], 0, side="left")
    rows = [text for text in texts for _ in range(REPEATS)]
    logits = decoding.start(
        padded.input_ids.to(model.device), padded.is_real.to(model.device), REPEATS, NEW_TOKENS
    )
    worst = 0.0
    for step in range(NEW_TOKENS):
        expected = torch.stack([_last_logits(model, row) for row in rows])
        if not torch.isfinite(expected).all():
            raise ValueError("the model's own logits are not finite")
        worst = max(worst, float((logits - expected).abs().max()))
        if step == DROPPED_AFTER:
            decoding.keep(KEPT)
            rows = [rows[row] for row in KEPT]
        drawn = draw(len(rows))
        rows = [[*row, int(token)] for row, token in zip(rows, drawn, strict=True)]
        logits = decoding.step(drawn.to(model.device))
    return worst


def _last_logits(model: PreTrainedModel, text: list[int]) -> Tensor:
    ids = torch.tensor([text], device=model.device)
    output = sharding.run(model, partial(model, input_ids=ids, use_cache=False))
    logits: Tensor = output.logits[0, -1].float()
    return logits
