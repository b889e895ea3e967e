"""The errors of the client.

ClientError
├── NotConnected             the server did not answer
├── RequestRefused           the server answered with an error
│   ├── Unauthenticated      401: there is no token, or it is not valid
│   ├── Forbidden            403: the token may not do this
│   ├── NotFound             404
│   ├── Conflict             409: not possible now
│   ├── Invalid              422: a value breaks a rule; `field` names it, if the server does
│   ├── TooManyRequests      429, after the last attempt
│   └── Unavailable          503, after the last attempt
├── JobFailed                an export or import ended without a result
├── WaitedTooLong            it is not over within the time limit; the server goes on
├── DownloadDamaged          what came is not what the server has, by its hash
└── PackageMissing           an optional package is not installed
"""

from collections.abc import Mapping
from typing import Any

import httpx


class ClientError(Exception):
    """Anything that went wrong."""


class NotConnected(ClientError):
    """The server did not answer."""


class JobFailed(ClientError):
    """A job of the server ended without a result."""


class WaitedTooLong(ClientError):
    """The time limit passed; the server goes on."""


class DownloadDamaged(ClientError):
    """What was downloaded does not have the hash that the server names."""


class PackageMissing(ClientError):
    """An optional package is not installed."""

    def __init__(self, package: str, use: str) -> None:
        super().__init__(f"{use} needs {package}, which is not installed: pip install {package}")
        self.package = package


class RequestRefused(ClientError):
    """The server answered with an error.

    Attributes:
        status: the HTTP status.
        detail: what is wrong, in a sentence.
        title: the standard phrase for the status.
        field: the part of the request that is wrong, such as `limit`; None if none is named.
        request_id: what to look for in the server's log.
        retry_after_s: in how many seconds to try again; None if the server does not say.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str = "",
        field: str | None = None,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{detail or title} ({status})")
        self.status = status
        self.detail = detail
        self.title = title
        self.field = field
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class Unauthenticated(RequestRefused):
    """There is no token, or it is not valid."""


class Forbidden(RequestRefused):
    """The token may not do this."""


class NotFound(RequestRefused):
    """There is no such thing, or the token may not see it."""


class Conflict(RequestRefused):
    """The state of things does not allow this."""


class Invalid(RequestRefused):
    """A value breaks a rule."""


class TooManyRequests(RequestRefused):
    """Too many requests, after the last attempt."""


class Unavailable(RequestRefused):
    """The server cannot answer now, after the last attempt."""


_OF_STATUS: Mapping[int, type[RequestRefused]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: TooManyRequests,
    503: Unavailable,
}


def kind_of(status: int) -> type[RequestRefused]:
    """Return the class of the errors with a status."""
    return _OF_STATUS.get(status, RequestRefused)


def problem(response: httpx.Response) -> dict[str, Any]:
    """Return the members of an error's problem+json, as `RequestRefused` takes them.

    An answer that is none, such as a proxy's page, is quoted in its first 200 characters.
    """
    body: object = None
    if "json" in response.headers.get("content-type", ""):
        try:
            body = response.json()
        except ValueError:
            body = None
    given: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    return {
        "detail": str(given.get("detail") or ("" if given else response.text[:200])),
        "title": str(given.get("title") or response.reason_phrase),
        "field": given.get("field"),
        "request_id": str(given.get("request_id") or response.headers.get("x-request-id", "")),
    }
