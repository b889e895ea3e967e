"""Engines that sample completions: a model in memory, or an OpenAI-compatible server.

All of them take the same prompts and settings, and seed each completion by its prompt's key and its
index alone. Engines in memory return token ids with log-probabilities, which training needs; a
server returns text. `server` has the engine for servers, `decoding` the forward passes of the
static engine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from worker.rlhf.core.examples import FinishReason, PromptItem, SampledCompletion
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.sampling import continuous_batching, sampling
from worker.rlhf.sampling.sampling import SamplingConfig

EngineName = Literal["static", "continuous"]
Sampler = Callable[
    [Roles | LoadedModel, Sequence[PromptItem], SamplingConfig, str | None],
    Iterator[SampledCompletion],
]


@dataclass(frozen=True, slots=True)
class EnginePrompt:
    """A prompt in the forms that engines read; `key` also seeds its completions.

    A model in memory reads `prompt_ids`, the completions endpoint of a server `text`, its chat
    endpoint `messages`. Only the form that is read has to be set. `stops` are texts that end the
    completion of a `text`: those that begin the next turn.
    """

    key: str
    prompt_ids: tuple[int, ...] = ()
    text: str = ""
    messages: tuple[ChatMessage, ...] = ()
    stops: tuple[str, ...] = ()

    @property
    def item(self) -> PromptItem:
        """The prompt as a model in memory reads it."""
        return PromptItem(self.key, self.prompt_ids)


class GeneratedCompletion(Protocol):
    """What every engine returns; `examples.SampledCompletion` has more."""

    @property
    def prompt_key(self) -> str:
        """Key of the prompt."""

    @property
    def sample_index(self) -> int:
        """Index among the completions of the prompt, from 0."""

    @property
    def text(self) -> str:
        """The completion as text, for display."""

    @property
    def finish_reason(self) -> FinishReason:
        """Whether it ended with an EOS token or at the length limit."""


class CompletionEngine(Protocol):
    """Samples completions of prompts."""

    def generate(
        self, prompts: Sequence[EnginePrompt], config: SamplingConfig
    ) -> Iterator[GeneratedCompletion]:
        """Yield `config.n` completions of every prompt, those of a prompt together."""


@dataclass(frozen=True, slots=True)
class MemoryEngine:
    """Samples completions with a model in memory."""

    sampler: Sampler
    model: Roles | LoadedModel
    role: str | None = None

    def generate(
        self, prompts: Sequence[EnginePrompt], config: SamplingConfig
    ) -> Iterator[SampledCompletion]:
        """Yield `config.n` completions of every prompt, those of a prompt together."""
        items = [prompt.item for prompt in prompts]
        yield from self.sampler(self.model, items, config, self.role)


def in_memory(
    name: EngineName, model: Roles | LoadedModel, role: str | None = None
) -> MemoryEngine:
    """Return an engine for a model in memory: by static batches, or by continuous batching.

    Raises:
        ValueError: if there is no such engine.
    """
    samplers: Mapping[str, Sampler] = {
        "static": sampling.generate,
        "continuous": continuous_batching.generate,
    }
    if name not in samplers:
        raise ValueError(f"the engine must be 'static' or 'continuous', got {name!r}")
    return MemoryEngine(samplers[name], model, role)
