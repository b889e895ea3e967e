"""The small random model of the acceptance tests, which both sides load."""

from worker.bench import workload
from worker.rlhf.model import starter
from worker.rlhf.model.models import LoadedModel


def build(vocabulary: int) -> LoadedModel:
    """Return a randomly initialized model with its tokenizer."""
    return starter.build(
        ["The model is never read, only compared."],
        vocab_size=vocabulary,
        width=64,
        layers=2,
        heads=4,
        seed=workload.SEED,
    )
