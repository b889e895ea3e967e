"""`attune open`: a project's page in the browser. It starts no server."""

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from urllib.parse import quote

import httpx

from attune.connection import checked_url
from attune.errors import ClientError, NotConnected

_LOOK_S = 3.0


def open_page(url: str, slug: str = "") -> tuple[str, bool]:
    """Open the first page of a server, or of a project, in the browser.

    Returns:
        The address, and whether a browser was opened: on a machine without a screen there is none.

    Raises:
        NotConnected: nothing answers at the address.
        ValueError: it is not an address.
    """
    url = checked_url(url)
    page = f"{url}/p/{quote(slug, safe='')}" if slug else f"{url}/"
    try:
        httpx.get(f"{url}/livez", timeout=_LOOK_S)
    except httpx.TransportError as error:
        raise NotConnected(
            f"nothing answers at {url}; start a server with attune up, or name another address"
        ) from error
    return page, _has_screen() and webbrowser.open(page)


def _has_screen() -> bool:
    """Return whether a browser could show a page; without one, Python would open one of text."""
    if sys.platform in {"darwin", "win32"}:
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def told(page: str, is_opened: bool) -> str:
    """Return what to say after a page was opened, or was not."""
    return page if is_opened else f"There is no browser here; open {page}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of an installation without the server; return the exit status."""
    parser = argparse.ArgumentParser(prog="attune", description="The client of Attune.")
    commands = parser.add_subparsers(dest="command", required=True)
    opening = commands.add_parser("open", help="Open a page in the browser; starts no server.")
    opening.add_argument("slug", nargs="?", default="", help="Of a project.")
    opening.add_argument("--url", help="Of the server; default: ATTUNE_URL, or this machine.")
    asked = parser.parse_args(arguments)
    try:
        line = told(*open_page(checked_url(asked.url), asked.slug))
    except (ClientError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{line}\n")
    return 0
