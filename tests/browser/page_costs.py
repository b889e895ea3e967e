"""How heavy pages are and how long they take to load, in Chromium against a real server.

Not a test: times depend on the machine. Run it on an idle one with

    python -m tests.browser.page_costs [--only REGEX] [--loads 7]

It opens every page of a project with 1,000 judgments. Printed for each are the bytes that a first
visit transfers, with all scripts, styles, fonts and images, as compressed as the server sends them,
and the median time of a later visit until its load event. It exits with 1 if the labeling page
transfers more than 80 kB, another page more than 120 kB, or one takes 300 ms or more.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page

from tests.browser import gallery
from tests.browser.desk import chromium
from tests.browser.gallery import Look, World

LABEL_MOST_KB, LEAD_MOST_KB, LOAD_MOST_MS = 80.0, 120.0, 300.0
LOOK = Look("light-1280", 1280)
LOADED_MS = "() => performance.getEntriesByType('navigation')[0].loadEventEnd"


@dataclass(frozen=True, slots=True)
class PageCost:
    """What a page costs its reader."""

    path: str
    first_kb: float
    again_ms: float

    @property
    def is_too_much(self) -> bool:
        """Whether it is above a limit."""
        most_kb = LABEL_MOST_KB if self.path.endswith("/label") else LEAD_MOST_KB
        return self.first_kb > most_kb or self.again_ms >= LOAD_MOST_MS


def measure(browser: Browser, world: World, only: str, loads: int) -> Iterator[PageCost]:
    """Yield the costs of a world's pages."""
    for path in gallery.chosen(world, only):
        with gallery.window(browser, world, LOOK) as page:  # with an empty cache
            received = _received(page)
            if not gallery.open_page(page, world, path):
                continue
            page.wait_for_timeout(300)  # for what scripts fetch
            first_kb, times = sum(received) / 1000, []
            for _ in range(loads):
                page.goto(world.url + path, wait_until="load")
                page.wait_for_function(f"({LOADED_MS})() > 0")
                times.append(float(page.evaluate(LOADED_MS)))
            yield PageCost(path, first_kb, median(times))


def _received(page: Page) -> list[int]:
    """Return the sizes of responses, to which those that a page will get are added."""
    sizes: list[int] = []
    protocol = page.context.new_cdp_session(page)
    protocol.send("Network.enable")
    protocol.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    return sizes


def main() -> int:
    """Print the costs, the heaviest page first."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--only", default="", help="a regular expression for world and path")
    options.add_argument("--loads", type=int, default=7, help="visits after the first")
    given = options.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium() as browser,
        gallery.worlds(Path(folder)) as worlds,
    ):
        found = [
            cost
            for world in worlds
            if world.name == "full"
            for cost in measure(browser, world, given.only, given.loads)
        ]
    for cost in sorted(found, key=lambda one: -one.first_kb):
        mark = "  too much" if cost.is_too_much else ""
        print(f"{cost.first_kb:7.1f} kB {cost.again_ms:6.0f} ms  {cost.path}{mark}")  # noqa: T201
    return 1 if any(cost.is_too_much for cost in found) else 0


if __name__ == "__main__":
    sys.exit(main())
