"""The part of a round's plan that names a model behind an OpenAI-compatible server."""

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
