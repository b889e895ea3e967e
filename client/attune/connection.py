"""Requests to the API of one server: repeated where that is safe, and refused in words.

What the answers mean is left to `attune.project` and its neighbors.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlsplit

import httpx

from attune import errors

ATTEMPTS: Final = 6
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 60.0  # a `Retry-After` beyond this is left to the caller
TIMEOUT_S: Final = 60.0
PAGE: Final = 1000  # rows of a list
LOCAL: Final = "http://127.0.0.1:8000"
_SAFE: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})


class Connection:
    """The API of one server, as the user of a token.

    Args:
        url: the server's address, such as `http://127.0.0.1:8000`.
        token: an API token; it is never shown.
        transport: replaces the network (tests only).

    Raises:
        ValueError: the address is none.
    """

    AGAIN: ClassVar[frozenset[int]] = frozenset({429, 502, 503, 504})
    """Statuses after which a request is repeated."""

    def __init__(
        self, url: str, token: str, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = checked_url(url)
        self._http = httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {token}", "accept": "application/json"},
            timeout=TIMEOUT_S,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at a path below `/api/v1`."""
        return self.request("GET", path, params=_given(query)).json()

    def post(self, path: str, body: object = None, *, repeat: bool | None = None) -> Any:
        """Post JSON to a path below `/api/v1` and return the JSON of the response."""
        response = self.request("POST", path, json=body, repeat=repeat)
        return response.json() if response.content else None

    def put(self, path: str, body: object) -> Any:
        """Put JSON to a path below `/api/v1` and return the JSON of the response."""
        return self.request("PUT", path, json=body).json()

    def upload(self, path: str, file: Path, query: Mapping[str, Any] | None = None) -> Any:
        """Send a file as a form, once, and return the JSON of the response."""
        with file.open("rb") as opened:
            files = {"file": (file.name, opened, "application/octet-stream")}
            response = self.request(
                "POST", path, files=files, params=_given(query or {}), attempts=1
            )
        return response.json()

    def pages(
        self, path: str, name: str, *, by: str = "cursor", **query: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of a list, page after page.

        Args:
            path: of the list.
            name: of the rows in a page.
            by: the parameter that asks for the next page, `cursor` or `before`.
            query: the filters, and `limit`, the rows of a page.
        """
        at: Any = "" if by == "cursor" else None
        while True:
            page = self.get(path, **{**query, by: at})
            yield from page[name]
            at = page["next" if by == "cursor" else by]
            if at is None:
                return

    def download(
        self, path: str, to: Path, *, on_bytes: Callable[[int], object] | None = None
    ) -> int:
        """Download a path to a file; return the number of bytes.

        After an interruption it goes on where it was if the server can, or else begins again.
        `on_bytes` is told how many bytes there are.

        Raises:
            RequestRefused: the server refused the request.
            NotConnected: the server did not respond to any attempt.
        """
        to.write_bytes(b"")
        tag: str | None = None
        for wait_s in waits(ATTEMPTS):
            have = to.stat().st_size
            headers = {"accept": "*/*", "accept-encoding": "identity"}
            if have and tag:
                headers |= {"range": f"bytes={have}-", "if-range": tag}
            try:
                with self._http.stream("GET", f"/api/v1{path}", headers=headers) as response:
                    if response.is_success:
                        tag = response.headers.get("etag")
                        return _write(response, to, on_bytes)
                    response.read()
            except httpx.TransportError as error:
                if wait_s is None:
                    raise self._unreachable(error, "GET", path) from error
            else:
                wait_s = self._wait_after(response, wait_s)
            time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def request(
        self,
        method: str,
        path: str,
        *,
        attempts: int = ATTEMPTS,
        repeat: bool | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a request, and repeat it while the server does not respond or asks to wait.

        Args:
            method: of HTTP.
            path: below `/api/v1`.
            attempts: at most.
            repeat: whether a second request does no harm. By default a POST is repeated only if
                its body has a key by which the server recognizes it.
            options: of `httpx.Client.request`.

        Raises:
            RequestRefused: the server refused the request.
            NotConnected: the server did not respond to any attempt.
        """
        if repeat is None:
            repeat = method in _SAFE or _has_key(options.get("json"))
        for wait_s in waits(attempts if repeat else 1):
            try:
                response = self._http.request(method, f"/api/v1{path}", **options)
            except httpx.TransportError as error:
                if wait_s is None:
                    raise self._unreachable(error, method, path) from error
            else:
                if response.is_success:
                    return response
                wait_s = self._wait_after(response, wait_s)
            time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _wait_after(self, response: httpx.Response, wait_s: float | None) -> float:
        """Return in how many seconds to repeat a request that failed, or raise its error."""
        after_s = _retry_after_s(response)
        is_final = wait_s is None or response.status_code not in self.AGAIN
        if wait_s is None or is_final or (after_s or 0) > LONGEST_WAIT_S:
            raise self._refused(response, after_s)
        return max(wait_s, after_s or 0)

    def _refused(self, response: httpx.Response, after_s: float | None) -> Exception:
        kind = errors.kind_of(response.status_code)
        return kind(response.status_code, **errors.problem(response), retry_after_s=after_s)

    def _unreachable(self, error: httpx.TransportError, method: str, path: str) -> Exception:
        unsure = "" if method in _SAFE else "; the server may have done what was asked"
        return errors.NotConnected(
            f"{self.url} did not answer {method} {path}: {error or type(error).__name__}{unsure}"
        )


def checked_url(url: str | None = None) -> str:
    """Return the address of a server: the one given, or else that in `ATTUNE_URL`.

    Without either it is `http://127.0.0.1:8000`.

    Raises:
        ValueError: it is not an address, or carries a password.
    """
    url = (url or os.environ.get("ATTUNE_URL") or LOCAL).rstrip("/")
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the address of {parts.hostname} must not have a name or a password")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"the address must begin with http:// or https://, not {url!r}")
    return url


def waits(attempts: int) -> Iterator[float | None]:
    """Yield how long to wait after each failed attempt, in seconds; None after the last."""
    for number in range(attempts - 1):
        yield FIRST_WAIT_S * 2**number
    yield None


def _write(response: httpx.Response, to: Path, on_bytes: Callable[[int], object] | None) -> int:
    is_part = response.status_code == httpx.codes.PARTIAL_CONTENT
    with to.open("ab" if is_part else "wb") as file:
        size = file.tell()
        for chunk in response.iter_bytes():
            size += file.write(chunk)
            if on_bytes is not None:
                on_bytes(size)
    return size


def _has_key(body: object) -> bool:
    return isinstance(body, Mapping) and bool(body.get("key"))


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _retry_after_s(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
