"""An HTTP server as a reward: conversations and responses go out as JSON, scores come back.

A request is `{"items": [{"prompt": [{"role": …, "content": …}, …], "response": …}, …]}`, its answer
`{"scores": [number, …]}` in the same order. Redirects are not followed. Which servers may be used
is decided by the caller.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx
import torch
from torch import Tensor

from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.texts import TextExchange, Texts

BATCH: Final = 32  # responses in a request
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_WAIT_S: Final = 30.0
MAX_ERROR_CHARACTERS: Final = 200


class EndpointUnavailable(ConnectionError):
    """The endpoint did not respond, or was too busy, in all attempts; a later run may succeed."""


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """Address of an endpoint, and how patiently it is called."""

    url: str
    timeout_s: float = 60.0
    tries: int = 6
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class EndpointReward:
    """The scores of an endpoint as the reward, on a scale that `fitted` sets."""

    config: EndpointConfig
    texts: Texts
    client: httpx.Client
    scale: Scale = field(default_factory=Scale)
    pause: Callable[[float], object] = time.sleep

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the endpoint's score of each completion, raw and on the fitted scale."""
        raw = self.raw(branches)
        return Scores(raw, self.scale(raw))

    def fitted(self, branches: Sequence[Branches]) -> "EndpointReward":
        """Return the same reward, normalized to mean 0 and std 1 on these completions."""
        return replace(self, scale=Scale.fit(self.raw(branches)))

    def raw(self, branches: Sequence[Branches]) -> Tensor:
        """Return the endpoint's score of each completion, branch by branch, [N].

        Raises:
            EndpointUnavailable: if a request failed in all attempts.
            ValueError: if there is no completion, the endpoint refused, or its answer is malformed.
        """
        items = [_item(exchange) for exchange in self.texts.exchanges(branches)]
        if not items:
            raise ValueError("there is no completion to score")
        scores: list[float] = []
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            scores += scores_of(self.config.url, self._post(batch), len(batch))
        return torch.tensor(scores, dtype=torch.float32)

    def _post(self, items: Sequence[dict[str, Any]]) -> Any:
        """Post a request, with exponential backoff while the endpoint is unavailable."""
        last_error = ""
        for attempt in range(self.config.tries):
            if attempt:
                self.pause(min(2.0 ** (attempt - 1), MAX_WAIT_S))
            try:
                response = self.client.post(self.config.url, json={"items": list(items)})
            except httpx.TransportError as error:
                last_error = f"{type(error).__name__}: {error}"
                continue
            if response.status_code in RETRIED:
                last_error = f"status {response.status_code}: {_excerpt(response)}"
                continue
            return _json(self.config.url, response)
        raise EndpointUnavailable(
            f"reward endpoint {self.config.url} failed {self.config.tries} times; "
            f"last error: {last_error}"
        )


def connect(
    config: EndpointConfig, texts: Texts, *, transport: httpx.BaseTransport | None = None
) -> EndpointReward:
    """Return the reward of an endpoint; `transport` replaces the network in tests."""
    headers = {} if config.api_key is None else {"Authorization": f"Bearer {config.api_key}"}
    client = httpx.Client(
        headers=headers, timeout=config.timeout_s, follow_redirects=False, transport=transport
    )
    return EndpointReward(config, texts, client)


def scores_of(url: str, answer: Any, count: int) -> list[float]:
    """Return the scores in an endpoint's answer.

    Raises:
        ValueError: if they are not as many finite numbers as responses were sent.
    """
    scores = answer.get("scores") if isinstance(answer, dict) else None
    if not isinstance(scores, list):
        raise ValueError(
            f'reward endpoint {url} must answer {{"scores": […]}}, '
            f"not {str(answer)[:MAX_ERROR_CHARACTERS]}"
        )
    if len(scores) != count:
        raise ValueError(
            f"reward endpoint {url} returned {len(scores)} scores for {count} responses"
        )
    for number, score in enumerate(scores, start=1):
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if not is_number or not math.isfinite(score):
            raise ValueError(f"score {number} of reward endpoint {url} is {score!r}, not a number")
    return [float(score) for score in scores]


def _item(exchange: TextExchange) -> dict[str, Any]:
    turns = [{"role": turn.role, "content": turn.content} for turn in exchange.messages]
    return {"prompt": turns, "response": exchange.response}


def _json(url: str, response: httpx.Response) -> Any:
    if response.is_redirect:
        raise ValueError(
            f"reward endpoint {url} redirects to {response.headers.get('location', 'nowhere')!r}; "
            "redirects are not followed"
        )
    if response.is_error:
        raise ValueError(
            f"reward endpoint {url} refused with status {response.status_code}: "
            f"{_excerpt(response)}"
        )
    try:
        return response.json()
    except ValueError as error:
        raise ValueError(
            f"reward endpoint {url} did not return JSON: {_excerpt(response)}"
        ) from error


def _excerpt(response: httpx.Response) -> str:
    return response.text[:MAX_ERROR_CHARACTERS]
