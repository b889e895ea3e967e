"""Sampling of completions in static batches, seeded per completion, with token log-probabilities.

The random numbers of a completion depend on the seed, its prompt's key and its index alone, not on
the rest of the batch; only rounding varies with the shape of the batch. Temperature, top-k and
top-p of the settings are the only logits processors: the model's own generation config is ignored.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from worker.rlhf.core import batches, config_checks
from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.core.parallel import Team
from worker.rlhf.model import models, template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles, loaded_of, run_as
from worker.rlhf.sampling import cache_probe
from worker.rlhf.sampling.decoding import DecodingEngine

Watch = Callable[[Tensor], bool]
"""Sees the tokens so far, [B, step + 1]; finished rows are padded. True ends the batch there."""


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """Sampling settings; the defaults draw from the model's own distribution.

    A temperature of 0 is greedy decoding. `top_p` 1 and `top_k` 0 filter nothing. `stop_at_eos`
    False draws exactly `max_new_tokens` tokens. `batch_size` counts completions.
    """

    n: int = 1
    max_new_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    batch_size: int = 64
    stop_at_eos: bool = True
    autocast: bool | None = False  # in bf16, rounding lets the shape of a batch change tokens

    def __post_init__(self) -> None:
        """Refuse settings that draw no tokens.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        config_checks.require_within(self, 1, math.inf, "n", "max_new_tokens", "batch_size")
        config_checks.require_within(self, 0.0, math.inf, "temperature", "top_k")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")

    def to_json(self) -> dict[str, object]:
        """Return the settings as plain values for the manifest."""
        return asdict(self)


def generate(
    model: Roles | LoadedModel,
    prompts: Sequence[PromptItem],
    config: SamplingConfig,
    role: str | None = None,
    watch: Watch | None = None,
) -> Iterator[SampledCompletion]:
    """Yield n completions of every prompt, batch by batch, the n of a prompt together.

    Batches contain prompts of similar lengths, so the order is not that of the prompts. The weights
    are read when the first completion is requested. `role` None is the active role.
    Log-probabilities are those of the model at the temperature, before any filter (at 1 if the
    temperature is 0). `watch` sees the tokens of a batch after each step, and can end it there.

    Raises:
        ValueError: if two prompts share a key, or one leaves no room for the new tokens.
    """
    loaded = loaded_of(model)
    refuse(prompts, loaded.model, config)
    dtype = models.autocast_dtype(config.autocast, loaded.model)
    with run_as(model, role):
        engine = cache_probe.engine(loaded.model, dtype)
    lengths = [len(prompt.prompt_ids) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (lengths[i], i))
    size = max(1, config.batch_size // config.n)
    team = model.team if isinstance(model, Roles) else Team()
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    for group, weight in team.in_step(groups, lambda: order[:1]):
        batch = [prompts[index] for index in group]
        # Not across a yield: the caller may activate another role in between.
        # The weights that a divided model gathers here are used in training too.
        graph = torch.no_grad() if team.is_sharding else torch.inference_mode()
        with run_as(model, role), graph:
            drawn = _draw_batch(engine, loaded, batch, config, team, watch)
        if weight:
            yield from _completions(drawn, batch, loaded, config)


def uniforms(seed: int, key: str, sample_index: int, count: int) -> np.ndarray:
    """Return the random numbers in [0, 1) of a completion; a smaller count gives a prefix."""
    name = f"{seed}\0{sample_index}\0{key}".encode()
    words = np.frombuffer(hashlib.sha256(name).digest()[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words)).random(count)


@dataclass(frozen=True, slots=True)
class _Drawn:
    token_ids: Tensor  # [B, R]
    logprobs: Tensor  # [B, R]
    lengths: Tensor  # [B]


def _draw_batch(
    engine: DecodingEngine,
    loaded: LoadedModel,
    prompts: Sequence[PromptItem],
    config: SamplingConfig,
    team: Team,
    watch: Watch | None,
) -> _Drawn:
    device = loaded.model.device
    batch = batches.pad(
        [(p.prompt_ids, ()) for p in prompts], loaded.pad_id, side=engine.prompt_side
    )
    chances = torch.from_numpy(
        np.stack(
            [
                uniforms(config.seed, prompt.key, index, config.max_new_tokens)
                for prompt in prompts
                for index in range(config.n)
            ]
        )
    ).to(device)  # [B, R]
    rows = chances.shape[0]
    tokens = torch.zeros(rows, config.max_new_tokens, dtype=torch.long, device=device)
    logprobs = torch.zeros(rows, config.max_new_tokens, dtype=torch.float32, device=device)
    lengths = torch.full((rows,), config.max_new_tokens, device=device)
    live = torch.arange(rows, device=device)  # the batch row of each engine row
    ends = torch.tensor(loaded.end_ids, dtype=torch.long, device=device)
    logits = engine.start(
        batch.input_ids.to(device), batch.is_real.to(device), config.n, config.max_new_tokens
    )
    for step in range(config.max_new_tokens):
        if live.numel() > 0:  # else others of the team are not done, and the engine runs for them
            drawn, drawn_logprobs = draw(logits, chances[live, step], config)
            tokens[live, step] = drawn
            logprobs[live, step] = drawn_logprobs
            if watch is not None and watch(tokens[:, : step + 1]):
                lengths, live = lengths.clamp(max=step + 1), live[:0]
        if step + 1 == config.max_new_tokens:
            break
        if config.stop_at_eos and live.numel() > 0:
            # A finished row that is still in the engine keeps its first length.
            ended = torch.isin(drawn, ends)
            lengths[live] = torch.where(ended, lengths[live].clamp(max=step + 1), lengths[live])
            kept = _drop_finished(engine, lengths[live] <= step + 1)
            if kept is not None:
                live = live[kept]
                drawn = drawn[kept] if live.numel() > 0 else drawn
        is_live = live.numel() > 0
        if not (team.is_any(is_live) if team.is_sharding else is_live):
            break
        logits = engine.step(drawn)
    return _Drawn(tokens.cpu(), logprobs.cpu(), lengths.cpu())


def draw(logits: Tensor, chance: Tensor, config: SamplingConfig) -> tuple[Tensor, Tensor]:
    """Return a token for each row of logits [B, V], and its log-probability.

    Tokens are drawn by inverting the cumulative distribution at `chance` [B], uniform in [0, 1). It
    is summed in fp64, so that a token of probability 0 is never drawn.
    """
    if config.temperature == 0.0:
        chosen = logits.argmax(-1, keepdim=True)
        return chosen.squeeze(-1), logits.log_softmax(-1).gather(-1, chosen).squeeze(-1)
    logprobs = (logits / config.temperature).log_softmax(-1)
    weights = filtered(logprobs.exp(), config.top_k, config.top_p)
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    threshold = (chance * cumulative[:, -1])[:, None]
    chosen = torch.searchsorted(cumulative, threshold, right=True).clamp(max=logits.shape[-1] - 1)
    return chosen.squeeze(-1), logprobs.gather(-1, chosen).squeeze(-1)


def filtered(probabilities: Tensor, top_k: int, top_p: float) -> Tensor:
    """Apply top-k, then top-p to probabilities [B, V]; the others become 0."""
    if top_k > 0:
        least = probabilities.topk(min(top_k, probabilities.shape[-1]), -1).values[:, -1:]
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if top_p < 1.0:
        ordered, token_ids = probabilities.sort(-1, descending=True)
        mass = ordered.sum(-1, keepdim=True) * top_p
        ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= mass, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, token_ids, ordered)
    return probabilities


def _drop_finished(engine: DecodingEngine, is_finished: Tensor) -> Tensor | None:
    """Drop finished rows and return the engine rows kept, or None if it does not pay yet."""
    finished = int(is_finished.sum())
    count = is_finished.numel()
    # Copying a whole cache pays only if enough rows are dropped at once.
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
) -> Iterator[SampledCompletion]:
    rows = zip(
        drawn.token_ids.tolist(), drawn.logprobs.tolist(), drawn.lengths.tolist(), strict=True
    )
    for row, (tokens, logprobs, length) in enumerate(rows):
        ids = tuple(tokens[:length])
        ended = config.stop_at_eos and ids[-1] in loaded.end_ids
        yield SampledCompletion(
            prompt_key=prompts[row // config.n].key,
            sample_index=row % config.n,
            token_ids=ids,
            text=template.decode(
                loaded.tokenizer, ids[:-1] if ended else ids, loaded.chat.thought_end
            ),
            finish_reason="eos" if ended else "length",
            logprob_sum=sum(logprobs[:length]),
            logprobs=tuple(logprobs[:length]),
        )


def refuse(prompts: Sequence[PromptItem], model: PreTrainedModel, config: SamplingConfig) -> None:
    """Refuse duplicate keys and prompts that leave no room for the new tokens.

    Raises:
        ValueError: naming the prompt.
    """
    keys: set[str] = set()
    limit = models.context_tokens(model)
    for prompt in prompts:
        if prompt.key in keys:
            raise ValueError(
                f"prompt key {prompt.key!r} occurs twice, but it seeds the completions"
            )
        keys.add(prompt.key)
        needed = len(prompt.prompt_ids) + config.max_new_tokens
        if limit is not None and needed > limit:
            raise ValueError(
                f"prompt {prompt.key!r} needs {needed} tokens with its response, "
                f"the context has {limit}"
            )
