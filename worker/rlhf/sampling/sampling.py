"""Sampled completions: seeded per prompt, with the log-probabilities of the tokens drawn.

The random numbers of a completion depend on the seed, its prompt's key and its index alone, not on
what else is in the batch; only rounding differs with the batch's shape. Logits become tokens here,
and nothing but the temperature and the two filters of the settings touches them: a model's own
generation settings are not read.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from worker.rlhf.core import batches, checks
from worker.rlhf.core.examples import Completion, PromptItem
from worker.rlhf.model import models, template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.sampling import decoding
from worker.rlhf.sampling.decoding import Engine


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How to sample; the defaults draw from the model's own distribution.

    A temperature of 0 takes the likeliest token. `top_p` 1 and `top_k` 0 filter nothing.
    `stop_at_eos` False draws exactly `max_new_tokens` tokens. `batch_size` counts completions.
    """

    n: int = 1
    max_new_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    batch_size: int = 64
    stop_at_eos: bool = True
    autocast: bool | None = False  # bf16 rounds enough for a batch's shape to change tokens

    def __post_init__(self) -> None:
        """Refuse settings that draw nothing.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        checks.within(self, 1, math.inf, "n", "max_new_tokens", "batch_size")
        checks.within(self, 0.0, math.inf, "temperature", "top_k")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")

    def to_json(self) -> dict[str, object]:
        """Return the settings as plain values, for a manifest."""
        return asdict(self)


def generate(
    model: Roles | LoadedModel,
    prompts: Sequence[PromptItem],
    config: SamplingConfig,
    role: str | None = None,
) -> Iterator[Completion]:
    """Yield n completions of every prompt, batch by batch, the n of a prompt together.

    Batches are made of prompts of similar length, so the order is not that of the prompts. The
    weights are those when the first completion is asked for. `role` None is the active one.
    Log-probabilities are those of the model at the temperature, before any filter (at 1 where the
    temperature is 0).

    Raises:
        ValueError: if two prompts share a key, or one leaves no room for the new tokens.
    """
    loaded = model.loaded if isinstance(model, Roles) else model
    refuse(prompts, loaded.model, config)
    dtype = models.autocast_dtype(config.autocast, loaded.model)
    with _as(model, role):
        engine = decoding.engine(loaded.model, dtype)
    lengths = [len(prompt.prompt_ids) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (lengths[i], i))
    size = max(1, config.batch_size // config.n)
    for start in range(0, len(order), size):
        some = [prompts[index] for index in order[start : start + size]]
        # Never across a yield: whoever iterates may run another role in between.
        with _as(model, role):
            drawn = _draw_batch(engine, loaded, some, config)
        yield from _completions(drawn, some, loaded, config)


def uniforms(seed: int, key: str, sample_index: int, count: int) -> np.ndarray:
    """Return the random numbers in [0, 1) of one completion; fewer are the beginning of more."""
    name = f"{seed}\0{sample_index}\0{key}".encode()
    words = np.frombuffer(hashlib.sha256(name).digest()[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words)).random(count)


def _as(model: Roles | LoadedModel, role: str | None) -> AbstractContextManager[None]:
    return model.role(role) if isinstance(model, Roles) and role is not None else nullcontext()


@dataclass(frozen=True, slots=True)
class _Drawn:
    token_ids: Tensor  # [B, R]
    logprobs: Tensor  # [B, R]
    lengths: Tensor  # [B]


@torch.inference_mode()
def _draw_batch(
    engine: Engine, loaded: LoadedModel, prompts: Sequence[PromptItem], config: SamplingConfig
) -> _Drawn:
    device = loaded.model.device
    batch = batches.pad([(p.prompt_ids, ()) for p in prompts], loaded.pad_id, side="left")
    chance = torch.from_numpy(
        np.stack(
            [
                uniforms(config.seed, prompt.key, index, config.max_new_tokens)
                for prompt in prompts
                for index in range(config.n)
            ]
        )
    ).to(device)  # [B, R]
    rows = chance.shape[0]
    tokens = torch.zeros(rows, config.max_new_tokens, dtype=torch.long, device=device)
    logprobs = torch.zeros(rows, config.max_new_tokens, dtype=torch.float32, device=device)
    lengths = torch.full((rows,), config.max_new_tokens, device=device)
    live = torch.arange(rows, device=device)  # which row each engine row is
    logits = engine.start(
        batch.input_ids.to(device), batch.is_real.to(device), config.n, config.max_new_tokens
    )
    for step in range(config.max_new_tokens):
        drawn, found = draw(logits, chance[live, step], config)
        tokens[live, step] = drawn
        logprobs[live, step] = found
        if step + 1 == config.max_new_tokens:
            break
        if config.stop_at_eos:
            # A finished row that has not left yet keeps its first length.
            ended = drawn == loaded.eos_id
            lengths[live] = torch.where(ended, lengths[live].clamp(max=step + 1), lengths[live])
            left = _leave(engine, lengths[live] <= step + 1)
            if left is not None:
                live, drawn = live[left], drawn[left]
            if live.numel() == 0:
                break
        logits = engine.step(drawn)
    return _Drawn(tokens.cpu(), logprobs.cpu(), lengths.cpu())


def draw(logits: Tensor, chance: Tensor, config: SamplingConfig) -> tuple[Tensor, Tensor]:
    """Return a token for each row of logits [B, V], and its log-probability.

    The distribution is inverted at `chance`. `chance` [B] is uniform in [0, 1). The distribution
    is summed in fp64, so that no token without probability is ever drawn.
    """
    if config.temperature == 0.0:
        chosen = logits.argmax(-1, keepdim=True)
        return chosen.squeeze(-1), logits.log_softmax(-1).gather(-1, chosen).squeeze(-1)
    scaled = (logits / config.temperature).log_softmax(-1)
    weights = filtered(scaled.exp(), config.top_k, config.top_p)
    total = weights.cumsum(-1, dtype=torch.float64)
    reached = (chance * total[:, -1])[:, None]
    chosen = torch.searchsorted(total, reached, right=True).clamp(max=logits.shape[-1] - 1)
    return chosen.squeeze(-1), scaled.gather(-1, chosen).squeeze(-1)


def filtered(probabilities: Tensor, top_k: int, top_p: float) -> Tensor:
    """Keep the k likeliest, and of those the fewest whose sum reaches p, [B, V]; others are 0."""
    if top_k > 0:
        least = probabilities.topk(min(top_k, probabilities.shape[-1]), -1).values[:, -1:]
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if top_p < 1.0:
        ordered, places = probabilities.sort(-1, descending=True)
        share = ordered.sum(-1, keepdim=True) * top_p
        ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= share, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, ordered)
    return probabilities


def _leave(engine: Engine, is_finished: Tensor) -> Tensor | None:
    finished = int(is_finished.sum())
    count = is_finished.numel()
    # Copying a whole cache pays only when enough rows go at once.
    if finished == 0 or (not engine.moves_rows_cheaply and 4 * finished < count):
        return None
    flags: list[bool] = is_finished.tolist()
    movers = iter(row for row in range(count - finished, count) if not flags[row])
    rows = [row if not flags[row] else next(movers) for row in range(count - finished)]
    if rows:
        engine.keep(rows)
    return torch.tensor(rows, dtype=torch.long, device=is_finished.device)


def _completions(
    drawn: _Drawn, prompts: Sequence[PromptItem], loaded: LoadedModel, config: SamplingConfig
) -> Iterator[Completion]:
    rows = zip(
        drawn.token_ids.tolist(), drawn.logprobs.tolist(), drawn.lengths.tolist(), strict=True
    )
    for row, (tokens, logprobs, length) in enumerate(rows):
        ids = tuple(tokens[:length])
        ended = config.stop_at_eos and ids[-1] == loaded.eos_id
        yield Completion(
            prompt_key=prompts[row // config.n].key,
            sample_index=row % config.n,
            token_ids=ids,
            text=template.decode(loaded.tokenizer, ids),
            finish_reason="eos" if ended else "length",
            logprob_sum=sum(logprobs[:length]),
            logprobs=tuple(logprobs[:length]),
        )


def refuse(prompts: Sequence[PromptItem], model: PreTrainedModel, config: SamplingConfig) -> None:
    """Refuse prompts that cannot be sampled.

    Raises:
        ValueError: if two share a key, or one leaves no room for the new tokens.
    """
    keys: set[str] = set()
    limit = models.context_tokens(model)
    for prompt in prompts:
        if prompt.key in keys:
            raise ValueError(f"prompt key {prompt.key!r} is there twice; it seeds the completions")
        keys.add(prompt.key)
        wanted = len(prompt.prompt_ids) + config.max_new_tokens
        if limit is not None and wanted > limit:
            raise ValueError(
                f"prompt {prompt.key!r} needs {wanted} tokens with its answer, "
                f"the context has {limit}"
            )
