"""A server as an engine of a model that is not trained meanwhile: the base, or one of its adapters.

Like the engines in memory it returns token ids with log-probabilities, so that what it sampled can
be trained on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.rlhf.core.examples import SampledCompletion
from worker.rlhf.sampling.engines import EnginePrompt
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.served_policy import Drawn, ServedPolicy


@dataclass(frozen=True, slots=True)
class ServedEngine:
    """Samples completions from a server, and waits for it while it is away."""

    model: ServedPolicy

    def generate(
        self, prompts: Sequence[EnginePrompt], config: SamplingConfig
    ) -> Iterator[SampledCompletion]:
        """Yield `config.n` completions of every prompt, those of a prompt together."""
        if not prompts:
            return
        source = self.model.at(0)
        drawn: Drawn | None = None
        while drawn is None:
            drawn = source([prompt.item for prompt in prompts], config)
        yield from drawn
