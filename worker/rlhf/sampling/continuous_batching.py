"""Continuous batching with transformers, drawing the same tokens as `sampling`.

Finished rows leave and waiting ones join at every step, over a paged cache. The library would draw
from one random stream for the whole batch; a logits processor instead inverts each row's
distribution at that row's own random number, and keeps the log-probability. It pays off on a GPU
with many completions of unequal lengths; on a CPU it works but is slower than the static engine.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from worker.rlhf.core.attention import NAME as ATTENTION_IN_FP32
from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.model import template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles, loaded_of, run_as
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig

try:
    from transformers import ContinuousBatchingConfig
    from transformers.generation.continuous_batching.cb_logits_processors import (
        ContinuousBatchingLogitsProcessor,
        ContinuousBatchingLogitsProcessorList,
    )
except ImportError:  # an older transformers, which `generate` refuses
    ContinuousBatchingConfig = None  # type: ignore[assignment, misc]
    ContinuousBatchingLogitsProcessor = object  # type: ignore[assignment, misc]

CPU_PAGE_TOKENS = 32
CPU_BATCH_TOKENS = 2048
POLL_S = 1.0  # between checks that the library's thread is still alive
BELOW_ONE = 1.0 - 2.0**-24  # random numbers are passed in fp32, where the largest would round to 1


def generate(
    model: Roles | LoadedModel,
    prompts: Sequence[PromptItem],
    config: SamplingConfig,
    role: str | None = None,
) -> Iterator[SampledCompletion]:
    """Yield n completions of every prompt, in order, once all are finished.

    `batch_size` bounds the rows on a CPU; on a GPU the free memory does. `autocast` is ignored: the
    model computes in its own dtype.

    Raises:
        ValueError: as `sampling.generate`, if `stop_at_eos` is False, or if the installed
            transformers is too old.
        RuntimeError: if the library fails on a completion.
    """
    if ContinuousBatchingConfig is None:
        raise ValueError("engine 'continuous' needs transformers 5.17 or newer; use 'static'")
    if not config.stop_at_eos:
        raise ValueError("engine 'continuous' always stops at the EOS token; use 'static'")
    loaded = loaded_of(model)
    if loaded.decoder_prefix:
        raise ValueError("engine 'continuous' has no encoder–decoder models; use 'static'")
    sampling.refuse(prompts, loaded.model, config)
    if not prompts:
        return
    processor = _SeededDraw(prompts, config)
    with run_as(model, role):
        tokens = _run(loaded, prompts, config, processor)
    for prompt in prompts:
        for index in range(config.n):
            name = _name(prompt, index)
            yield _completion(prompt, index, tokens[name], processor.logprobs[name], loaded)


class _SeededDraw(ContinuousBatchingLogitsProcessor):
    """Draws each row's token at the row's own random number; greedy decoding then takes it."""

    def __init__(self, prompts: Sequence[PromptItem], config: SamplingConfig) -> None:
        self.supported_kwargs: dict[str, type] = {}  # the library reads both
        self.ignored_kwargs = ()
        self.logprobs: dict[str, list[float]] = {}
        self._config = config
        self._sources: dict[str, tuple[str, int]] = {}  # prompt key and sample index
        for prompt in prompts:
            for index in range(config.n):
                self._sources[_name(prompt, index)] = (prompt.key, index)
                self.logprobs[_name(prompt, index)] = []
        self._chances: dict[str, np.ndarray] = {}
        self._drawn: dict[str, int] = {}
        self._rows: list[str] = []
        self._step_logprobs: Tensor | None = None  # of the last step, row by row

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        """Give padding rows an arbitrary random number."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> Tensor:
        """Return each row's next random number as bits of an int32, the library's storage."""
        self.flush()
        self._rows = [request.state.request_id for request in requests_with_new_token]
        chances = torch.tensor([self._next(name) for name in self._rows], dtype=torch.float32)
        return chances.view(torch.int32)

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        """Draw a token for each row [B, V] and mask out all others."""
        chance = tensor_arg[: scores.shape[0]].view(torch.float32).double()
        drawn, logprobs = sampling.draw(scores, chance, self._config)
        rows = scores.shape[0]
        if self._step_logprobs is None or self._step_logprobs.shape[0] < rows:
            self._step_logprobs = torch.zeros(max(1024, rows), device=scores.device)
        self._step_logprobs[:rows] = logprobs
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn[:, None], 0.0)

    def flush(self) -> None:
        """Append the log-probabilities of the last step to their completions."""
        if self._step_logprobs is None or not self._rows:
            return
        values = self._step_logprobs[: len(self._rows)].tolist()
        for name, value in zip(self._rows, values, strict=True):
            if name in self.logprobs:
                self.logprobs[name].append(value)
        self._rows = []

    def _next(self, name: str) -> float:
        if name not in self._sources:  # the library warms up with requests of its own
            return 0.0
        if name not in self._chances:
            key, index = self._sources[name]
            self._chances[name] = sampling.uniforms(
                self._config.seed, key, index, self._config.max_new_tokens
            )
        step = self._drawn.get(name, 0)
        self._drawn[name] = step + 1
        return min(float(self._chances[name][step]), BELOW_ONE)


def _run(
    loaded: LoadedModel,
    prompts: Sequence[PromptItem],
    config: SamplingConfig,
    processor: _SeededDraw,
) -> dict[str, list[int]]:
    """Return the tokens of each completion by its request name."""
    model: Any = loaded.model
    ends = list(loaded.end_ids)
    with _paged_attention(loaded.model):
        manager = model.init_continuous_batching(
            generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                max_new_tokens=config.max_new_tokens, eos_token_id=ends, do_sample=False
            ),
            continuous_batching_config=_settings(loaded.model, prompts, config),
        )
        processors = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([processor]))
        processors.tensors_required = 1
        manager.logit_processor = processors
        manager.start()
        try:
            for prompt in prompts:
                for index in range(config.n):
                    manager.add_request(
                        list(prompt.prompt_ids),
                        request_id=_name(prompt, index),
                        max_new_tokens=config.max_new_tokens,
                        eos_token_id=ends,
                    )
            tokens = _collect(manager, len(prompts) * config.n)
        finally:
            manager.stop(block=True)
            manager.destroy()
    processor.flush()
    return tokens


def _collect(manager: Any, count: int) -> dict[str, list[int]]:
    tokens: dict[str, list[int]] = {}
    while len(tokens) < count:
        result = manager.get_result(timeout=POLL_S)
        if result is None:
            if not manager.is_running():
                raise RuntimeError(
                    f"continuous batching ended with {len(tokens)} of {count} completions"
                )
            continue
        if result.error is not None:
            raise RuntimeError(f"continuous batching failed on {result.request_id}: {result.error}")
        if result.is_finished():
            tokens[result.request_id] = list(result.generated_tokens)
    return tokens


def _settings(
    model: PreTrainedModel, prompts: Sequence[PromptItem], config: SamplingConfig
) -> "ContinuousBatchingConfig":
    # Synchronous, so that the host has each step's tokens before it prepares the next step.
    common: dict[str, Any] = {"use_async_batching": False, "auto_switch_to_flash": False}
    if model.device.type != "cpu":
        return ContinuousBatchingConfig(**common)
    # By default the library takes most of the machine's memory for the cache.
    longest = max(len(prompt.prompt_ids) for prompt in prompts) + config.max_new_tokens
    rows = min(config.batch_size, len(prompts) * config.n)
    return ContinuousBatchingConfig(
        **common,
        page_size=CPU_PAGE_TOKENS,
        num_blocks=rows * (longest // CPU_PAGE_TOKENS + 2),
        max_batch_tokens=max(CPU_BATCH_TOKENS, rows),
        max_requests_per_batch=rows,
    )


@contextmanager
def _paged_attention(model: PreTrainedModel) -> Iterator[None]:
    before = model.config._attn_implementation
    if before == ATTENTION_IN_FP32:  # the paged cache supports only the library's own
        model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _name(prompt: PromptItem, index: int) -> str:
    return f"{index}/{prompt.key}"


def _completion(
    prompt: PromptItem,
    index: int,
    tokens: Sequence[int],
    logprobs: Sequence[float],
    loaded: LoadedModel,
) -> SampledCompletion:
    ended = tokens[-1] in loaded.end_ids
    return SampledCompletion(
        prompt_key=prompt.key,
        sample_index=index,
        token_ids=tuple(tokens),
        text=template.decode(
            loaded.tokenizer, tokens[:-1] if ended else tokens, loaded.chat.thought_end
        ),
        finish_reason="eos" if ended else "length",
        logprob_sum=sum(logprobs[: len(tokens)]),
        logprobs=tuple(logprobs[: len(tokens)]),
    )
