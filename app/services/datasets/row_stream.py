"""All rows of a list as JSON lines, read page by page, each in a short transaction of its own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.services.datasets.row_filters import RowPage

ReadPage = Callable[[Session, str], RowPage[Any]]
"""Reads the page at a cursor."""


def lines(
    reader: Callable[[], AbstractContextManager[Session]],
    read: ReadPage,
    row: type,
    first: RowPage[Any],
) -> Iterator[bytes]:
    """Yield the lines of a page, and of those that follow it."""
    adapter = TypeAdapter[Any](row)
    found = first
    while True:
        yield b"".join(adapter.dump_json(each) + b"\n" for each in found.rows)
        if found.next is None:
            return
        with reader() as session:
            found = read(session, found.next)
