"""An OpenAI-compatible server as an engine: vLLM, llama.cpp, TGI, `transformers serve` and others.

A server returns text, not token ids that training could use. Every completion is a separate request
with its own seed, so the order in which the server handles requests does not matter if it supports
seeds. Which servers may be used is decided by the caller.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from worker.rlhf.core.examples import FinishReason
from worker.rlhf.sampling.engines import EnginePrompt
from worker.rlhf.sampling.sampling import SamplingConfig

RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_WAIT_S: Final = 30.0
MAX_ERROR_CHARACTERS: Final = 300


class ServerUnavailable(ConnectionError):
    """The server did not respond, or was too busy, in all attempts."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Address and settings of a server.

    `url` is the part before "/completions", usually ending in "/v1". With `is_chat` the server
    renders the messages with its own template; otherwise it continues the text of the prompt.
    `concurrency` is the number of simultaneous requests. `template_arguments` are passed to the
    server's chat template.
    """

    url: str
    model: str
    is_chat: bool = False
    concurrency: int = 8
    timeout_s: float = 120.0
    tries: int = 5
    api_key: str | None = field(default=None, repr=False)
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse settings that no request can use.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"server url must begin with http:// or https://, got {self.url!r}")
        if not self.model:
            raise ValueError(f"server {self.url} needs a model name")
        for name in ("concurrency", "timeout_s", "tries"):
            if getattr(self, name) <= 0:
                raise ValueError(f"server {name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ServedCompletion:
    """A completion as text."""

    prompt_key: str
    sample_index: int
    text: str
    finish_reason: FinishReason


class Server:
    """Samples completions from a server; use it as a context manager to close its connections.

    Args:
        config: address and settings of the server.
        transport: replaces the network in tests.
        pause: waits between two attempts; replaced in tests.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.config = config
        self._pause = pause
        headers = {} if config.api_key is None else {"Authorization": f"Bearer {config.api_key}"}
        self._client = httpx.Client(
            headers=headers,
            timeout=config.timeout_s,
            transport=transport,
            limits=httpx.Limits(max_connections=config.concurrency),
        )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_details: object) -> None:
        """Close the connections."""
        self._client.close()

    def generate(
        self, prompts: Sequence[EnginePrompt], config: SamplingConfig
    ) -> Iterator[ServedCompletion]:
        """Yield n completions of every prompt, in order, with some requests ahead of the consumer.

        Raises:
            ServerUnavailable: if a request failed `tries` times.
            ValueError: if the server refused a request or its response is malformed.
        """
        if not config.stop_at_eos:
            raise ValueError("a server always stops at its model's EOS token")
        samples = ((prompt, index) for prompt in prompts for index in range(config.n))
        pending: deque[Future[ServedCompletion]] = deque()
        pool = ThreadPoolExecutor(self.config.concurrency, thread_name_prefix="server-request")
        try:
            for prompt, index in samples:
                if len(pending) >= 2 * self.config.concurrency:
                    yield pending.popleft().result()
                pending.append(pool.submit(self._complete, prompt, index, config))
            while pending:
                yield pending.popleft().result()
        finally:  # also if the consumer stops early
            pool.shutdown(cancel_futures=True)

    def _complete(
        self, prompt: EnginePrompt, index: int, config: SamplingConfig
    ) -> ServedCompletion:
        path = "/chat/completions" if self.config.is_chat else "/completions"
        reply = self._post(path, request_body(self.config, prompt, index, config))
        text, reason = _choice(self.config, reply)
        return ServedCompletion(prompt.key, index, text, reason)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        url = self.config.url.rstrip("/") + path
        last_error, wait_s = "", 0.0
        for attempt in range(self.config.tries):
            if attempt:
                self._pause(min(max(wait_s, 2.0 ** (attempt - 1)), MAX_WAIT_S))
            try:
                response = self._client.post(url, json=dict(body))
            except httpx.TransportError as error:
                last_error = f"{type(error).__name__}: {error}"
                continue
            if response.status_code in RETRIED:
                last_error = (
                    f"status {response.status_code}: {response.text[:MAX_ERROR_CHARACTERS]}"
                )
                wait_s = _retry_after_s(response)
                continue
            return _json(url, response)
        raise ServerUnavailable(f"{url} failed {self.config.tries} times; last error: {last_error}")


def request_body(
    server: ServerConfig, prompt: EnginePrompt, index: int, config: SamplingConfig
) -> dict[str, Any]:
    """Return the request body for one completion; settings without effect are left out.

    Raises:
        ValueError: if the prompt lacks the form that the server reads.
    """
    body: dict[str, Any] = {
        "model": server.model,
        "max_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        "seed": seed_of(config.seed, prompt.key, index),
    }
    if config.top_p < 1.0:
        body["top_p"] = config.top_p
    if config.top_k > 0:
        body["top_k"] = config.top_k  # not part of OpenAI's API; the servers above accept it
    if server.is_chat:
        if not prompt.messages:
            raise ValueError(f"prompt {prompt.key!r} has no messages for a chat")
        turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
        if server.template_arguments:  # not part of OpenAI's API either
            body["chat_template_kwargs"] = dict(server.template_arguments)
        return body | {"messages": turns}
    if not prompt.text:
        raise ValueError(f"prompt {prompt.key!r} has no text to continue")
    if prompt.stops:
        body["stop"] = list(prompt.stops)
    return body | {"prompt": prompt.text}


def seed_of(seed: int, key: str, sample_index: int) -> int:
    """Return the seed of a completion: 31 bits, since some servers accept no more."""
    digest = hashlib.sha256(f"{seed}\0{sample_index}\0{key}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _retry_after_s(response: httpx.Response) -> float:
    """Return the server's Retry-After in seconds; dates are ignored."""
    retry_after = response.headers.get("retry-after", "")
    return float(retry_after) if retry_after.isdigit() else 0.0


def _json(url: str, response: httpx.Response) -> Any:
    if response.is_error or response.is_redirect:
        raise ValueError(
            f"{url} refused with status {response.status_code}: "
            f"{response.text[:MAX_ERROR_CHARACTERS]}"
        )
    try:
        return response.json()
    except ValueError as error:
        raise ValueError(
            f"{url} did not return JSON: {response.text[:MAX_ERROR_CHARACTERS]}"
        ) from error


def _choice(server: ServerConfig, reply: Any) -> tuple[str, FinishReason]:
    """Return the text and finish reason of the only choice; anything but a stop was cut off."""
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"] if server.is_chat else choice["text"]
        reason = choice["finish_reason"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{server.url} returned no choice: {str(reply)[:MAX_ERROR_CHARACTERS]}"
        ) from error
    return str(text or ""), "eos" if reason == "stop" else "length"
