"""`open`: the page of this machine's server, or of another, in the browser."""

from typing import Annotated

import typer

from app.cli.console import fail
from app.settings import Settings, load
from attune import command
from attune.errors import ClientError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("open")(open_page)


def open_page(
    slug: Annotated[str, typer.Argument(help="Of a project; without it, the first page.")] = "",
    url: Annotated[
        str | None, typer.Option(envvar="ATTUNE_URL", help="Default: the server of the settings.")
    ] = None,
) -> None:
    """Open a page in the browser; starts no server."""
    try:
        page, is_opened = command.open_page(url or _url(load(prepares=False)), slug)
    except (ClientError, ValueError) as error:
        fail(str(error))
    typer.echo(command.told(page, is_opened))


def _url(settings: Settings) -> str:
    """Return the address that people open; a server that listens everywhere is on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return settings.public_url or f"http://{host}:{settings.port}"
