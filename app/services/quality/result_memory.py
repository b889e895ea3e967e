"""An in-process memory of the newest results of queries, and the key of a result."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Engine
from sqlalchemy.orm import Session

MAX_ENTRIES = 256

Tag = TypeVar("Tag")


class ResultMemory(Generic[Tag]):
    """The newest results, each with the tag that decides whether it is still valid."""

    def __init__(self, most: int = MAX_ENTRIES) -> None:
        self._most = most
        self._entries: OrderedDict[Hashable, tuple[Tag, Any]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> tuple[Tag, Any] | None:
        """Return a result with its tag, if there is one."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: Hashable, tag: Tag, result: object) -> None:
        """Remember a result; the oldest are forgotten."""
        with self._lock:
            self._entries[key] = (tag, result)
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        """Forget a result, if it is there."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget every result."""
        with self._lock:
            self._entries.clear()


def is_writing(session: Session) -> bool:
    """Whether the session may change rows."""
    return bool(_engine(session).get_execution_options().get("attune_writes"))


def key_of(session: Session, name: str, *args: object, **kwargs: object) -> Hashable:
    """Return the key of the result of a function with its arguments, in this database."""
    return (str(_engine(session).url), name, args, tuple(sorted(kwargs.items())))


def _engine(session: Session) -> Engine:
    return cast(Engine, session.get_bind())
