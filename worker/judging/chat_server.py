"""A client of `/chat/completions` of an OpenAI-compatible server, for short replies to be read.

It keeps to a rate, waits as long as the server asks, retries what may pass, and reports the tokens.
It may be used by several threads. Which servers may be called is decided by the caller.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from app.domain.judges import replies
from app.domain.judges.prompts import Message

RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
OF_THE_REQUEST: Final = frozenset(
    {400, 413, 422}
)  # others concern the server, the key or the model
MAX_WAIT_S: Final = 60.0
MAX_REPLY_BYTES: Final = 1 << 20
MAX_ERROR_CHARACTERS: Final = 300


class ChatUnavailable(ConnectionError):
    """The server did not respond, or was too busy, in all attempts."""


class ChatRefused(ValueError):
    """The server refused; `is_of_request` if another request may still be accepted."""

    def __init__(self, message: str, *, is_of_request: bool) -> None:
        super().__init__(message)
        self.is_of_request = is_of_request


@dataclass(frozen=True, slots=True)
class ChatConfig:
    """Address and settings of a server; `url` is the part before "/chat/completions"."""

    url: str
    model: str
    temperature: float = 0.0
    max_tokens: int = 700
    json_mode: bool = False
    timeout_s: float = 120.0
    tries: int = 6
    requests_per_minute: int | None = None
    concurrency: int = 4
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A reply with what it took: requests sent, and tokens; None if the server did not say."""

    text: str
    requests: int
    tokens_in: int | None
    tokens_out: int | None
    is_cut_off: bool


class ChatServer:
    """Asks a server; use it as a context manager to close its connections.

    Args:
        config: address and settings.
        transport: replaces the network in tests.
        clock: returns seconds; replaced in tests.
        pause: waits that many seconds, or raises to stop waiting.
    """

    def __init__(
        self,
        config: ChatConfig,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.config = config
        self._clock, self._pause = clock, pause
        self._lock = threading.Lock()
        self._next_at = float("-inf")
        headers = {} if config.api_key is None else {"Authorization": f"Bearer {config.api_key}"}
        self._client = httpx.Client(
            headers=headers,
            timeout=config.timeout_s,
            transport=transport,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=config.concurrency),
            trust_env=False,  # a proxy of the environment is not on the operator's list
        )

    def __enter__(self) -> "ChatServer":
        return self

    def __exit__(self, *_details: object) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, messages: Sequence[Message]) -> ChatReply:
        """Return the reply to a conversation.

        Raises:
            ChatUnavailable: no attempt got a response.
            ChatRefused: the server refused, or what it sent is no reply.
        """
        body = self._body(messages)
        url, last_error = f"{self.config.url.rstrip('/')}/chat/completions", ""
        for attempt in range(self.config.tries):
            self._await_turn()
            try:
                response, content = self._post(url, body)
            except httpx.TransportError as error:
                last_error = f"{type(error).__name__}: {error}"
                self._delay(2.0**attempt)
                continue
            if response.status_code in RETRIED:
                last_error = f"status {response.status_code}: {_short(content)}"
                self._delay(max(retry_after_s(response, _wall_clock()), 2.0**attempt / 2))
                continue
            return _reply(url, response, content, attempt + 1)
        raise ChatUnavailable(f"{url} failed {self.config.tries} times; last error: {last_error}")

    def _body(self, messages: Sequence[Message]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": [{"role": role, "content": content} for role, content in messages],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
        }
        if self.config.json_mode:
            body["response_format"] = {"type": "json_object"}
        return body

    def _post(self, url: str, body: dict[str, Any]) -> tuple[httpx.Response, bytes]:
        content = b""
        with self._client.stream("POST", url, json=body) as response:
            for part in response.iter_bytes():
                content += part
                if len(content) > MAX_REPLY_BYTES:
                    raise ChatRefused(
                        f"{url} sent more than {MAX_REPLY_BYTES} bytes", is_of_request=True
                    )
        return response, content

    def _await_turn(self) -> None:
        """Wait until the rate allows a request, and until the wait that the server asked for."""
        gap_s = 60.0 / (self.config.requests_per_minute or float("inf"))
        with self._lock:
            at = max(self._next_at, self._clock())
            self._next_at = at + gap_s
        self._wait_until(at)

    def _wait_until(self, at: float) -> None:
        while (left := at - self._clock()) > 0:
            self._pause(min(left, 1.0))  # in steps, so that an order to stop is obeyed

    def _delay(self, wait_s: float) -> None:
        """Let no thread ask before the wait is over: the server is busy for all of them."""
        with self._lock:
            self._next_at = max(self._next_at, self._clock() + min(wait_s, MAX_WAIT_S))


def retry_after_s(response: httpx.Response, now: datetime) -> float:
    """Return the server's Retry-After in seconds, whether it is a number or a date; else 0."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _wall_clock() -> datetime:
    return datetime.now(UTC)


def _reply(url: str, response: httpx.Response, content: bytes, requests: int) -> ChatReply:
    if not response.is_success:
        raise ChatRefused(
            f"{url} refused with status {response.status_code}: {_short(content)}",
            is_of_request=response.status_code in OF_THE_REQUEST,
        )
    try:
        reply = httpx.Response(200, content=content).json()
        choice = reply["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise ChatRefused(f"{url} sent no reply: {_short(content)}", is_of_request=True) from error
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return ChatReply(
        replies.clean(str(text or "")),
        requests,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        choice.get("finish_reason") == "length",
    )


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count and isinstance(value, int) else None


def _short(content: bytes) -> str:
    text = " ".join(content.decode("utf-8", "replace").replace("\x00", "").split())
    return text[:MAX_ERROR_CHARACTERS] or "(empty)"
