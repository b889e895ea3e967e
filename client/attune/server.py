"""A server, as the user of a token."""

import os
from typing import Self

import httpx

from attune.connection import Connection, checked_url
from attune.project import Project
from attune.types import ProjectInfo


class Attune:
    """A server, as the user of a token; `connect` makes one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Attune {self.url}>"

    @property
    def url(self) -> str:
        """The server's address."""
        return self._connection.url

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def project(self, slug: str) -> Project:
        """Return a project by its name in addresses; nothing is requested yet."""
        return Project(self._connection, slug)

    def projects(self) -> list[ProjectInfo]:
        """Return the projects that the token's user may open."""
        return [ProjectInfo.from_json(each) for each in self._connection.get("/projects")]


def connect(
    url: str | None = None,
    token: str | None = None,
    *,
    transport: httpx.BaseTransport | None = None,
) -> Attune:
    """Return a server; nothing is requested yet.

    Args:
        url: its address; by default `ATTUNE_URL`, or else `http://127.0.0.1:8000`.
        token: an API token; by default `ATTUNE_TOKEN`.
        transport: replaces the network (tests only).

    Raises:
        ValueError: there is no token, or the address is none.
    """
    url = checked_url(url)
    token = (token or os.environ.get("ATTUNE_TOKEN") or "").strip()
    if not token:
        raise ValueError(
            "there is no token: pass one or set ATTUNE_TOKEN; it is made under API tokens in the "
            f"account menu of {url}"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the token must be one word of ASCII characters, as it was shown")
    return Attune(Connection(url, token, transport=transport))
