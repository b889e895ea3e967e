"""What answers prompts: a model in memory, by static or by continuous batching, or a server.

All three take the same questions and settings and seed each answer by its question's key and its
index alone. Those in memory give token ids with their log-probabilities, which training needs; a
server gives text. How tokens become logits, inside the static one, is `decoding`'s business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from worker.rlhf.core.examples import Completion, FinishReason, PromptItem
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import Message
from worker.rlhf.sampling import continuous_batching, sampling
from worker.rlhf.sampling.sampling import SamplingConfig

EngineName = Literal["static", "continuous"]


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt in the forms that engines read; `key` also seeds its answers.

    A model in memory reads `prompt_ids`, a server's completions `text`, its chat `messages`. Only
    the form that is read has to be there.
    """

    key: str
    prompt_ids: tuple[int, ...] = ()
    text: str = ""
    messages: tuple[Message, ...] = ()

    @property
    def item(self) -> PromptItem:
        """The question as a model in memory reads it."""
        return PromptItem(self.key, self.prompt_ids)


class Answer(Protocol):
    """What every engine says of an answer; `data.Completion` says more."""

    @property
    def prompt_key(self) -> str:
        """Whose answer it is."""

    @property
    def sample_index(self) -> int:
        """Which of the question's answers it is, from 0."""

    @property
    def text(self) -> str:
        """The answer, for people."""

    @property
    def finish_reason(self) -> FinishReason:
        """Whether it ended itself or was cut off."""


class CompletionEngine(Protocol):
    """Answers questions."""

    def generate(self, questions: Sequence[Question], config: SamplingConfig) -> Iterator[Answer]:
        """Yield `config.n` answers to every question, those of a question together."""


class MemoryEngine(Protocol):
    """Answers questions with a model in memory."""

    def generate(
        self, questions: Sequence[Question], config: SamplingConfig
    ) -> Iterator[Completion]:
        """Yield `config.n` answers to every question, those of a question together."""


@dataclass(frozen=True, slots=True)
class Static:
    """Our own sampling: prompts of like length in a batch, prefilled once for all their answers."""

    model: Roles | LoadedModel
    role: str | None = None

    def generate(
        self, questions: Sequence[Question], config: SamplingConfig
    ) -> Iterator[Completion]:
        """Yield the answers batch by batch, in the order of the prompts' lengths."""
        items = [question.item for question in questions]
        yield from sampling.generate(self.model, items, config, self.role)


@dataclass(frozen=True, slots=True)
class Continuous:
    """Continuous batching: a new answer begins wherever one has ended."""

    model: Roles | LoadedModel
    role: str | None = None

    def generate(
        self, questions: Sequence[Question], config: SamplingConfig
    ) -> Iterator[Completion]:
        """Yield the answers once all are there, in the order of the questions."""
        items = [question.item for question in questions]
        yield from continuous_batching.generate(self.model, items, config, self.role)


def in_memory(
    name: EngineName, model: Roles | LoadedModel, role: str | None = None
) -> MemoryEngine:
    """Return the engine of that name for a model in memory.

    Raises:
        ValueError: there is no such engine.
    """
    if name == "static":
        return Static(model, role)
    if name == "continuous":
        return Continuous(model, role)
    raise ValueError(f"a model in memory answers by 'static' or 'continuous', not by {name!r}")
