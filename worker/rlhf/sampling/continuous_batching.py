"""Continuous batching by transformers, drawing the very tokens that `sampling` would draw.

Finished rows leave and waiting ones join at every step, over a paged cache. The library would draw
from one stream of chances for the whole batch; a logits processor of ours inverts each row's
distribution at that row's own chance instead, and keeps the log-probability. It pays on a GPU with
many answers of unequal length; on a CPU it works and is slower than the static engine.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from worker.rlhf.core.attention import NAME as ATTENTION_IN_FP32
from worker.rlhf.core.examples import Completion, PromptItem
from worker.rlhf.model import template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig

try:
    from transformers import ContinuousBatchingConfig
    from transformers.generation.continuous_batching.cb_logits_processors import (
        ContinuousBatchingLogitsProcessor,
        ContinuousBatchingLogitsProcessorList,
    )
except ImportError:  # an older transformers; `generate` says so
    ContinuousBatchingConfig = None  # type: ignore[assignment, misc]
    ContinuousBatchingLogitsProcessor = object  # type: ignore[assignment, misc]

CPU_PAGE_TOKENS = 32
CPU_BATCH_TOKENS = 2048
PATIENCE_S = 1.0  # between two looks at whether the library's thread still lives
BELOW_ONE = 1.0 - 2.0**-24  # chances travel in fp32, where the largest would round to 1


def generate(
    model: Roles | LoadedModel,
    prompts: Sequence[PromptItem],
    config: SamplingConfig,
    role: str | None = None,
) -> Iterator[Completion]:
    """Yield n completions of every prompt, in order, once all are there.

    `batch_size` bounds the rows on a CPU; on a GPU the free memory does. `autocast` is not read:
    the model computes in its own type.

    Raises:
        ValueError: as `sampling.generate`; where every completion should have all its tokens; or
            if the installed transformers cannot do it.
        RuntimeError: if the library gave up on a completion.
    """
    if ContinuousBatchingConfig is None:
        raise ValueError("engine 'continuous' needs transformers 5.17 or newer; take 'static'")
    if not config.stop_at_eos:
        raise ValueError("engine 'continuous' always stops at the end token; take 'static'")
    loaded = model.loaded if isinstance(model, Roles) else model
    sampling.refuse(prompts, loaded.model, config)
    if not prompts:
        return
    chances = _Chances(prompts, config)
    with _as(model, role):
        found = _run(loaded, prompts, config, chances)
    for prompt in prompts:
        for index in range(config.n):
            name = _name(prompt, index)
            yield _completion(prompt, index, found[name], chances.logprobs[name], loaded)


class _Chances(ContinuousBatchingLogitsProcessor):
    """Draws each row's token at the row's own chance; greedy decoding then takes that token."""

    def __init__(self, prompts: Sequence[PromptItem], config: SamplingConfig) -> None:
        self.supported_kwargs: dict[str, type] = {}  # the library asks for both
        self.ignored_kwargs = ()
        self.logprobs: dict[str, list[float]] = {}
        self._config = config
        self._of: dict[str, tuple[str, int]] = {}
        for prompt in prompts:
            for index in range(config.n):
                self._of[_name(prompt, index)] = (prompt.key, index)
                self.logprobs[_name(prompt, index)] = []
        self._chances: dict[str, np.ndarray] = {}
        self._drawn: dict[str, int] = {}
        self._rows: list[str] = []
        self._kept: Tensor | None = None  # of the last step, row by row

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        """Give rows that are only padding any chance at all."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> Tensor:
        """Return each row's next chance, as the library's storage of 32 bits wants it."""
        self.flush()
        self._rows = [each.state.request_id for each in requests_with_new_token]
        chances = torch.tensor([self._next(name) for name in self._rows], dtype=torch.float32)
        return chances.view(torch.int32)

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        """Leave each row [B, V] one token that can be taken."""
        chance = tensor_arg[: scores.shape[0]].view(torch.float32).double()
        drawn, found = sampling.draw(scores, chance, self._config)
        if self._kept is None or self._kept.shape[0] < scores.shape[0]:
            self._kept = torch.zeros(max(1024, scores.shape[0]), device=scores.device)
        self._kept[: scores.shape[0]] = found
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn[:, None], 0.0)

    def flush(self) -> None:
        """Take the log-probabilities of the last step to their answers."""
        if self._kept is None or not self._rows:
            return
        for name, value in zip(self._rows, self._kept[: len(self._rows)].tolist(), strict=True):
            if name in self.logprobs:
                self.logprobs[name].append(value)
        self._rows = []

    def _next(self, name: str) -> float:
        if name not in self._of:  # the library warms up with requests of its own
            return 0.0
        if name not in self._chances:
            key, index = self._of[name]
            self._chances[name] = sampling.uniforms(
                self._config.seed, key, index, self._config.max_new_tokens
            )
        step = self._drawn.get(name, 0)
        self._drawn[name] = step + 1
        return min(float(self._chances[name][step]), BELOW_ONE)


def _run(
    loaded: LoadedModel, prompts: Sequence[PromptItem], config: SamplingConfig, chances: _Chances
) -> dict[str, list[int]]:
    model: Any = loaded.model
    with _paged_attention(loaded.model):
        manager = model.init_continuous_batching(
            generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                max_new_tokens=config.max_new_tokens, eos_token_id=loaded.eos_id, do_sample=False
            ),
            continuous_batching_config=_settings(loaded.model, prompts, config),
        )
        processors = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([chances]))
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
                        eos_token_id=loaded.eos_id,
                    )
            found = _collect(manager, len(prompts) * config.n)
        finally:
            manager.stop(block=True)
            manager.destroy()
    chances.flush()
    return found


def _collect(manager: Any, count: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    while len(found) < count:
        result = manager.get_result(timeout=PATIENCE_S)
        if result is None:
            if not manager.is_running():
                raise RuntimeError(
                    f"continuous batching ended with {len(found)} of {count} answers"
                )
            continue
        if result.error is not None:
            raise RuntimeError(
                f"continuous batching gave up on {result.request_id}: {result.error}"
            )
        if result.is_finished():
            found[result.request_id] = list(result.generated_tokens)
    return found


def _settings(
    model: PreTrainedModel, prompts: Sequence[PromptItem], config: SamplingConfig
) -> "ContinuousBatchingConfig":
    # Without overlap the host sees each step's tokens before it prepares the next.
    common: dict[str, Any] = {"use_async_batching": False, "auto_switch_to_flash": False}
    if model.device.type != "cpu":
        return ContinuousBatchingConfig(**common)
    # The library would take most of the machine's memory for the cache.
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
    if before == ATTENTION_IN_FP32:  # the library's own, which the paged cache knows
        model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _as(model: Roles | LoadedModel, role: str | None) -> AbstractContextManager[None]:
    return model.role(role) if isinstance(model, Roles) and role is not None else nullcontext()


def _name(prompt: PromptItem, index: int) -> str:
    return f"{index}/{prompt.key}"


def _completion(
    prompt: PromptItem,
    index: int,
    tokens: Sequence[int],
    logprobs: Sequence[float],
    loaded: LoadedModel,
) -> Completion:
    return Completion(
        prompt_key=prompt.key,
        sample_index=index,
        token_ids=tuple(tokens),
        text=template.decode(loaded.tokenizer, tokens),
        finish_reason="eos" if tokens[-1] == loaded.eos_id else "length",
        logprob_sum=sum(logprobs[: len(tokens)]),
        logprobs=tuple(logprobs[: len(tokens)]),
    )
