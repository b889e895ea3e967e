"""Times the pages of a running server, as somebody sees them who opens one after another.

The first request of a page finds the server's caches cold, the later ones find them warm. Only GET
is sent, over one connection.
"""

import http.client
import time
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import quantiles
from urllib.parse import quote, urlsplit

from app.errors import Invalid

REQUESTS = 20  # of each page once it is warm
TIMEOUT_S = 120.0
LEAD_PAGES = (
    *("", "/overview/live", "/prompts", "/prompts/imports/live", "/comparisons", "/rounds"),
    *(
        "/rounds/1",
        "/rounds/1/live",
        "/rounds/new",
        "/climb",
        "/evaluations",
        "/models",
    ),
    *("/exports", "/exports/live", "/sides", "/history", "/practice/set", "/settings"),
    *("/guidelines", "/guidelines/edit", "/comparisons/1", "/prompts/1"),
    *("/comparisons?state=open", "/comparisons?state=judged", "/comparisons?state=flagged"),
    *("/comparisons?state=withdrawn", "/comparisons?purpose=train", "/comparisons?purpose=gold"),
    *("/comparisons?round=1", "/comparisons?state=open&round=1", "/comparisons?prompt=1"),
    *("/comparisons?state=flagged&round=1", "/comparisons?state=judged&round=10"),
    *("/prompts?split=test", "/prompts?source=chat.jsonl", "/prompts?split=test&source=none"),
)
"""What the leads of a project open, below its address."""
OTHER_PAGES = ("/", "/jobs", "/jobs/live", "/audit", "/people", "/account", "/tokens")
"""What administrators open, too."""
SEARCHED_PAGES = ("/prompts", "/comparisons", "/history")
SEARCHES = ("refund", "refu", "problem", "answer nobody", '"has a problem"', "17", "nowhere")


@dataclass(frozen=True, slots=True)
class PageTimings:
    """How long a page took in milliseconds: its first requests, and those when it was warm."""

    path: str
    first: tuple[float, ...]
    warm: tuple[float, ...]

    def __add__(self, other: "PageTimings") -> "PageTimings":
        """Return the timings of both, such as after another start of the server."""
        if self.path != other.path:
            raise Invalid(f"timings of {self.path} cannot be added to those of {other.path}")
        return PageTimings(self.path, self.first + other.first, self.warm + other.warm)

    @property
    def first_p50(self) -> float:
        """The median of the first requests."""
        return percentile(self.first, 50)

    @property
    def first_p95(self) -> float:
        """The 95th percentile of the first requests."""
        return percentile(self.first, 95)

    @property
    def warm_p50(self) -> float:
        """The median of the later requests."""
        return percentile(self.warm, 50)

    @property
    def warm_p95(self) -> float:
        """The 95th percentile of the later requests."""
        return percentile(self.warm, 95)


def paths_of(slug: str) -> list[str]:
    """Return the addresses of all pages, filtered lists and searches of a project."""
    searches = [f"{page}?q={quote(words)}" for page in SEARCHED_PAGES for words in SEARCHES]
    return [*OTHER_PAGES, *(f"/p/{slug}{page}" for page in (*LEAD_PAGES, *searches))]


def status(address: str, token: str, path: str) -> int:
    """Return the status that a page answers with."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {token}"})
        return connection.getresponse().status
    finally:
        connection.close()


def measure(
    address: str, token: str, paths: Iterable[str], *, requests: int = REQUESTS
) -> list[PageTimings]:
    """Request each page once, then `requests` times more; return the timings by page.

    Raises:
        Invalid: the address is not one, or a page answers with anything but 200.
    """
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname:
        raise Invalid(f"the address must be like http://127.0.0.1:8000, not {address!r}")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
    try:
        wanted = list(paths)
        first = {path: _request_ms(connection, token, path) for path in wanted}
        return [
            PageTimings(
                path,
                (first[path],),
                tuple(_request_ms(connection, token, path) for _ in range(requests)),
            )
            for path in wanted
        ]
    finally:
        connection.close()


def percentile(milliseconds: tuple[float, ...], percent: int) -> float:
    """Return a percentile, interpolated between the two timings beside it."""
    if len(milliseconds) == 1:
        return milliseconds[0]
    return quantiles(milliseconds, n=100, method="inclusive")[percent - 1]


def _request_ms(connection: http.client.HTTPConnection, token: str, path: str) -> float:
    headers = {"authorization": f"Bearer {token}", "accept": "*/*"}
    sent = time.perf_counter()
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    received = time.perf_counter()
    if response.status != 200:
        raise Invalid(f"{path} answered with {response.status}: {body[:300].decode()}")
    return 1000 * (received - sent)
