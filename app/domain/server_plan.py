"""The parts of a round's plan that name a model behind an OpenAI-compatible server."""

from dataclasses import dataclass

from app.domain.bounds import between
from app.errors import Invalid

SERVER_MODEL_MOST = 100


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """A model behind an OpenAI-compatible server whose completions take part in the comparisons.

    `url` must be on the operator's list of allowed servers; `candidates` is per prompt.
    """

    url: str = ""
    model: str = ""
    candidates: int = 1
    is_chat: bool = True
    concurrency: int = 8

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise Invalid(f"server url must begin with http:// or https://, not {self.url!r}")
        if not 0 < len(self.model) <= SERVER_MODEL_MOST:
            raise Invalid(f"server model must have 1 to {SERVER_MODEL_MOST} characters")
        between("server candidates", self.candidates, 1, 64)
        between("server concurrency", self.concurrency, 1, 256)


@dataclass(frozen=True, slots=True)
class SamplingServerPlan:
    """A server that samples the round's own models: it has their base, and takes their adapters.

    `url` must be on the operator's list of allowed servers; `model` is the server's name for the
    base. In PPO and RLOO an adapter is used for `publish_every` steps. A job waits
    `patience_minutes` for a lost server, and warns if the server's log-probabilities are on average
    more than `deviation_most` nats per token from those of training.
    """

    url: str = ""
    model: str = ""
    publish_every: int = 1
    concurrency: int = 32
    patience_minutes: int = 60
    deviation_most: float = 0.1

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise Invalid(
                f"sampling_server url must begin with http:// or https://, not {self.url!r}"
            )
        if not 0 < len(self.model) <= SERVER_MODEL_MOST:
            raise Invalid(f"sampling_server model must have 1 to {SERVER_MODEL_MOST} characters")
        between("sampling_server publish_every", self.publish_every, 1, 1000)
        between("sampling_server concurrency", self.concurrency, 1, 1024)
        between("sampling_server patience_minutes", self.patience_minutes, 0, 10_080)
        between("sampling_server deviation_most", self.deviation_most, 0.0, 100.0)
