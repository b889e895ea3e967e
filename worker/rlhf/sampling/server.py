"""An OpenAI-compatible server as an engine: vLLM, llama.cpp, TGI, `transformers serve` and kin.

Text comes back, and nothing that training could use as token ids. Every answer is a request of its
own with a seed of its own, so the order in which a busy server gets to them does not matter where
it honours seeds. Which servers may be asked is decided by whoever configures this.
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
from worker.rlhf.sampling.engines import Question
from worker.rlhf.sampling.sampling import SamplingConfig

RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT_S: Final = 30.0
SHOWN_OF_AN_ERROR: Final = 300


class ServerUnavailable(ConnectionError):
    """The server did not answer, or was too busy, however often it was asked."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Which server to ask, and how.

    `url` is the part before "/completions", usually ending in "/v1". `is_chat` lets the server lay
    out the turns by its own template; otherwise it continues the question's text. `concurrency`
    requests are under way at once.
    """

    url: str
    model: str
    is_chat: bool = False
    concurrency: int = 8
    timeout_s: float = 120.0
    tries: int = 5
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"server url must begin with http:// or https://, got {self.url!r}")
        if not self.model:
            raise ValueError(f"server {self.url} needs the name of a model")
        for name in ("concurrency", "timeout_s", "tries"):
            if getattr(self, name) <= 0:
                raise ValueError(f"server {name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """An answer as text."""

    prompt_key: str
    sample_index: int
    text: str
    finish_reason: FinishReason


class Server:
    """Asks a server. Use as a context, so that its connections are closed.

    Args:
        config: which server, and how.
        transport: stands in for the network in tests.
        pause: stands in for waiting between two tries.
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
        self, questions: Sequence[Question], config: SamplingConfig
    ) -> Iterator[ServedAnswer]:
        """Yield n answers to every question, in order, some of them asked for ahead.

        Raises:
            ServerUnavailable: if one request failed `tries` times.
            ValueError: if the server refused a request or said what nobody understands.
        """
        if not config.stop_at_eos:
            raise ValueError("a server stops at its model's end token; that cannot be turned off")
        wanted = ((question, index) for question in questions for index in range(config.n))
        waiting: deque[Future[ServedAnswer]] = deque()
        pool = ThreadPoolExecutor(self.config.concurrency, thread_name_prefix="ask")
        try:
            for question, index in wanted:
                if len(waiting) >= 2 * self.config.concurrency:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(self._answer, question, index, config))
            while waiting:
                yield waiting.popleft().result()
        finally:  # also where whoever iterates has had enough
            pool.shutdown(cancel_futures=True)

    def _answer(self, question: Question, index: int, config: SamplingConfig) -> ServedAnswer:
        path = "/chat/completions" if self.config.is_chat else "/completions"
        reply = self._ask(path, request_body(self.config, question, index, config))
        text, reason = _choice(self.config, reply)
        return ServedAnswer(question.key, index, text, reason)

    def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        url = self.config.url.rstrip("/") + path
        trouble, wait_s = "", 0.0
        for attempt in range(self.config.tries):
            if attempt:
                self._pause(min(max(wait_s, 2.0 ** (attempt - 1)), LONGEST_WAIT_S))
            try:
                response = self._client.post(url, json=dict(body))
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {error}"
                continue
            if response.status_code in RETRIED:
                trouble = f"status {response.status_code}: {response.text[:SHOWN_OF_AN_ERROR]}"
                wait_s = _wanted_wait_s(response)
                continue
            return _json(url, response)
        raise ServerUnavailable(f"{url} failed {self.config.tries} times; the last: {trouble}")


def request_body(
    server: ServerConfig, question: Question, index: int, config: SamplingConfig
) -> dict[str, Any]:
    """Return the request for one answer; settings that filter nothing are left out.

    Raises:
        ValueError: if the question lacks the form that the server reads.
    """
    body: dict[str, Any] = {
        "model": server.model,
        "max_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        "seed": seed_of(config.seed, question.key, index),
    }
    if config.top_p < 1.0:
        body["top_p"] = config.top_p
    if config.top_k > 0:
        body["top_k"] = config.top_k  # not in the original interface; the servers named above do it
    if server.is_chat:
        if not question.messages:
            raise ValueError(f"question {question.key!r} has no messages for a chat")
        turns = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        return body | {"messages": turns}
    if not question.text:
        raise ValueError(f"question {question.key!r} has no text to continue")
    return body | {"prompt": question.text}


def seed_of(seed: int, key: str, sample_index: int) -> int:
    """Return an answer's own seed, of 31 bits, as some servers take no more."""
    digest = hashlib.sha256(f"{seed}\0{sample_index}\0{key}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _wanted_wait_s(response: httpx.Response) -> float:
    """Return how long the server asks to be left alone; dates are not read."""
    said = response.headers.get("retry-after", "")
    return float(said) if said.isdigit() else 0.0


def _json(url: str, response: httpx.Response) -> Any:
    if response.is_error or response.is_redirect:
        raise ValueError(
            f"{url} refused with status {response.status_code}: {response.text[:SHOWN_OF_AN_ERROR]}"
        )
    try:
        return response.json()
    except ValueError as error:
        raise ValueError(
            f"{url} did not answer in JSON: {response.text[:SHOWN_OF_AN_ERROR]}"
        ) from error


def _choice(server: ServerConfig, reply: Any) -> tuple[str, FinishReason]:
    """Return text and end of the only choice; whatever is not a stop was cut off."""
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"] if server.is_chat else choice["text"]
        reason = choice["finish_reason"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{server.url} answered without a choice: {str(reply)[:SHOWN_OF_AN_ERROR]}"
        ) from error
    return str(text or ""), "eos" if reason == "stop" else "length"
