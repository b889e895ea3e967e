"""The operator's list of servers that AI judges may run on.

An entry is a URL, or a URL, an equals sign and the name of the environment variable that holds the
server's API key: `https://api.example.com/v1=EXAMPLE_KEY`. The key itself is in no setting, row or
message; the worker reads it from its environment when it calls the server.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import Invalid

SETTING = "ATTUNE_JUDGE_SERVERS"
REMEDY = (
    "the operator of this installation can add it to this setting of the web server and the workers"
)
_ENTRY = re.compile(r"(?P<url>https?://[^\s=]+?)/*(?:=(?P<variable>[A-Za-z_][A-Za-z0-9_]*))?")


@dataclass(frozen=True, slots=True)
class AllowedServer:
    """A server's URL up to "/chat/completions", and the variable with its key; empty: no key."""

    url: str
    key_variable: str = ""


def allowed(setting: str) -> tuple[AllowedServer, ...]:
    """Read the operator's setting, a list separated by commas.

    Raises:
        Invalid: an entry is not a URL, or what follows its equals sign is not a variable's name.
    """
    entries = [entry.strip() for entry in setting.split(",") if entry.strip()]
    return tuple(_read(entry) for entry in entries)


def find(servers: Sequence[AllowedServer], url: str) -> AllowedServer:
    """Return the server with this URL.

    Raises:
        Invalid: it is not on the operator's list.
    """
    for server in servers:
        if server.url == url.rstrip("/"):
            return server
    listed = ", ".join(server.url for server in servers) or "none"
    raise Invalid(
        f"server {url} is not among those that AI judges may use ({SETTING}: {listed}); {REMEDY}"
    )


def _read(entry: str) -> AllowedServer:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        # What follows the equals sign may be a key that was put there by mistake.
        raise Invalid(
            f"{SETTING}: {entry.partition('=')[0]!r} must be a URL that begins with http:// or "
            "https://, optionally followed by = and the name of the variable with its API key"
        )
    return AllowedServer(found["url"], found["variable"] or "")
