"""An in-process cache of query results for pages that refresh themselves.

`cached` keeps a result until the project's judgments change; `cached_briefly` keeps it for a time
in proportion to what it took to compute. Sessions that write neither read nor fill the cache: what
they see may be rolled back.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from app.domain.states import AssignmentState
from app.models import Assignment, Comparison, Criterion, Judgment, Membership, Project

MAX_ENTRIES = 256
LIFETIME_FACTOR = 20  # a brief result lives for so many times its computing time

Params = ParamSpec("Params")
Result = TypeVar("Result")
Tag = TypeVar("Tag")
Stamp = tuple[int, ...]


class _Cache(Generic[Tag]):
    """The newest results, each with the tag that decides whether it is still valid."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, tuple[Tag, Any]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> tuple[Tag, Any] | None:
        with self._lock:
            return self._entries.get(key)

    def put(self, key: Hashable, tag: Tag, result: object) -> None:
        with self._lock:
            self._entries[key] = (tag, result)
            self._entries.move_to_end(key)
            while len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)


_by_stamp: _Cache[Stamp] = _Cache()
_by_expiry: _Cache[float] = _Cache()


def cached(
    compute: Callable[Concatenate[Session, int, Params], Result],
) -> Callable[Concatenate[Session, int, Params], Result]:
    """Cache the results of a function of a project's judgments until the judgments change."""

    @wraps(compute)
    def lookup(
        session: Session, project_id: int, /, *args: Params.args, **kwargs: Params.kwargs
    ) -> Result:
        if _is_writing(session):
            return compute(session, project_id, *args, **kwargs)
        key = _key(session, compute, project_id, *args, **kwargs)
        present = stamp(session, project_id)
        entry = _by_stamp.get(key)
        if entry is not None and entry[0] == present:
            return cast(Result, entry[1])
        result = compute(session, project_id, *args, **kwargs)
        _by_stamp.put(key, present, result)
        return result

    return lookup


def cached_briefly(
    compute: Callable[Concatenate[Session, Params], Result],
) -> Callable[Concatenate[Session, Params], Result]:
    """Cache the results of a function for twenty times as long as it took to compute them.

    A count of a million rows may then be some seconds old on a page that refreshes every second; a
    count of a few rows is practically current.
    """

    @wraps(compute)
    def lookup(session: Session, /, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        if _is_writing(session):
            return compute(session, *args, **kwargs)
        key = _key(session, compute, *args, **kwargs)
        started_at_s = time.monotonic()
        entry = _by_expiry.get(key)
        if entry is not None and started_at_s < entry[0]:
            return cast(Result, entry[1])
        result = compute(session, *args, **kwargs)
        ended_at_s = time.monotonic()
        expires_at_s = ended_at_s + LIFETIME_FACTOR * (ended_at_s - started_at_s)
        _by_expiry.put(key, expires_at_s, result)
        return result

    return lookup


def stamp(session: Session, project_id: int) -> Stamp:
    """Return numbers that change with any judgment, skip, withdrawal, member, weight or label."""
    newest, current = session.execute(
        select(func.coalesce(func.max(Judgment.id), 0), func.count()).where(
            Judgment.project_id == project_id, Judgment.is_current
        )
    ).one()
    withdrawn = select(func.count()).where(
        Comparison.project_id == project_id, Comparison.is_withdrawn
    )
    skipped = select(func.count()).where(
        Assignment.project_id == project_id, Assignment.state == AssignmentState.SKIPPED
    )
    members = select(func.count()).where(Membership.project_id == project_id)
    labels = select(Project.prompt_changes).where(Project.id == project_id)
    counts = (session.scalar(query) or 0 for query in (withdrawn, skipped, members, labels))
    weights = session.execute(
        select(Criterion.name, Criterion.weight).where(Criterion.project_id == project_id)
    )
    weights_hash = hash(frozenset((name, weight) for name, weight in weights))
    return (int(newest), int(current), *counts, weights_hash)


def _engine(session: Session) -> Engine:
    return cast(Engine, session.get_bind())


def _is_writing(session: Session) -> bool:
    return bool(_engine(session).get_execution_options().get("attune_writes"))


def _key(
    session: Session, compute: Callable[..., object], *args: object, **kwargs: object
) -> Hashable:
    database = str(_engine(session).url)
    arguments = (args, tuple(sorted(kwargs.items())))
    return (database, compute.__module__, compute.__qualname__, arguments)
