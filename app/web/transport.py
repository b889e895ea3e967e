"""Plain http and https: what a server may be reached by, and what its cookies and links follow.

Passwords and cookies travel in plain http only on this machine, unless the operator says otherwise.
Behind a proxy with TLS, requests arrive in plain http too; the proxy's forwarded headers tell of
the https outside, and are believed only of the proxies that the operator names.
"""

from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import urlsplit

from starlette.requests import Request

from app.errors import Invalid

HEALTH_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked by monitors at the server's own address; they tell no secret."""


class Exposure(Protocol):
    """The settings of how people reach the server."""

    @property
    def public_url(self) -> str | None:
        """The URL that people open, if it is not the server's own."""

    @property
    def trusted_proxies(self) -> str:
        """The proxies whose forwarded headers are believed."""

    @property
    def allow_plain_http(self) -> bool:
        """Whether people may sign in without https."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is that of this machine to itself."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_secure(request: Request) -> bool:
    """Whether the browser reached the server by https, so that cookies need it."""
    if request.scope["scheme"] == "https":
        return True
    return _is_https(_settings(request).public_url) and not is_loopback(_asked_host(request))


def refusal(request: Request) -> str:
    """Return why a request in plain http is refused; empty if it is not."""
    settings = _settings(request)
    if (
        request.scope["scheme"] == "https"
        or settings.allow_plain_http
        or is_loopback(_asked_host(request))
        or request.scope["path"] in HEALTH_PATHS
    ):
        return ""
    if _is_https(settings.public_url):
        return (
            f"this server is used over https, at {settings.public_url}; if you came from there, "
            "its proxy is not among ATTUNE_TRUSTED_PROXIES or sends no X-Forwarded-Proto"
        )
    return (
        "passwords must not travel in plain http: put a proxy with TLS before this server and set "
        "ATTUNE_PUBLIC_URL and ATTUNE_TRUSTED_PROXIES, or set ATTUNE_ALLOW_PLAIN_HTTP=true"
    )


def own_hosts(request: Request) -> tuple[str, ...]:
    """Return the hosts that a form of this application may come from."""
    public = _settings(request).public_url
    return (request.headers.get("host", ""), *([urlsplit(public).netloc] if public else []))


def address_outside(request: Request, path: str) -> str:
    """Return a link to a page that works outside: at the public URL, if there is one."""
    base = _settings(request).public_url or str(request.base_url)
    return base.rstrip("/") + path


def check(settings: Exposure, host: str) -> None:
    """Refuse to serve on an address where people could not sign in safely.

    Raises:
        Invalid: the message names the settings that help.
    """
    if settings.allow_plain_http:
        return
    if _is_https(settings.public_url):
        if not settings.trusted_proxies:
            raise Invalid(
                f"ATTUNE_PUBLIC_URL is {settings.public_url}, so a proxy with TLS is before this "
                "server: set ATTUNE_TRUSTED_PROXIES to its address, or people cannot sign in"
            )
        return
    if settings.public_url is not None and not is_loopback(_host(settings.public_url)):
        raise Invalid(
            f"ATTUNE_PUBLIC_URL is {settings.public_url}: passwords must not travel in plain http; "
            "use https, or set ATTUNE_ALLOW_PLAIN_HTTP=true"
        )
    if settings.public_url is None and not is_loopback(host):
        raise Invalid(
            f"{host} is reached from other machines, and passwords must not travel in plain http: "
            "set ATTUNE_PUBLIC_URL to the https address of a proxy with TLS and "
            "ATTUNE_TRUSTED_PROXIES to the proxy's, or set ATTUNE_ALLOW_PLAIN_HTTP=true"
        )


def _settings(request: Request) -> Exposure:
    settings: Exposure = request.app.state.settings
    return settings


def _asked_host(request: Request) -> str:
    """Return the name or address in the Host header, without the port."""
    host = request.headers.get("host", "")
    name, _colon, port = host.rpartition(":")
    return name if port.isdigit() else host


def _is_https(url: str | None) -> bool:
    return url is not None and url.startswith("https://")


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
