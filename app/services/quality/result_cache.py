"""Results that stay true until somebody judges, skips or withdraws: computed once, then kept.

Pages that refresh themselves ask the same questions every few seconds. What is kept is dropped as
soon as the project's stamp differs. Sessions that write always compute: what they see may be
rolled back.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from app.domain.states import AssignmentState
from app.models import Assignment, Comparison, Criterion, Judgment, Membership

MOST = 256
SHARE_OF_TIME = 20

Given = ParamSpec("Given")
Result = TypeVar("Result")
Stamp = tuple[int, ...]

_kept: OrderedDict[Hashable, tuple[Stamp, Any]] = OrderedDict()
_brief: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
_lock = Lock()


def remembered(
    compute: Callable[Concatenate[Session, int, Given], Result],
) -> Callable[Concatenate[Session, int, Given], Result]:
    """Keep what a function of a project's judgments returned, until they change."""

    @wraps(compute)
    def recalled(
        session: Session, project_id: int, /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        engine = cast(Engine, session.get_bind())
        if engine.get_execution_options().get("attune_writes"):
            return compute(session, project_id, *args, **kwargs)
        asked = (args, tuple(sorted(kwargs.items())))
        key = (str(engine.url), compute.__module__, compute.__qualname__, project_id, asked)
        present = stamp(session, project_id)
        with _lock:
            found = _kept.get(key)
        if found is not None and found[0] == present:
            return cast(Result, found[1])
        result = compute(session, project_id, *args, **kwargs)
        with _lock:
            _kept[key] = (present, result)
            _kept.move_to_end(key)
            while len(_kept) > MOST:
                _kept.popitem(last=False)
        return result

    return recalled


def briefly(
    compute: Callable[Concatenate[Session, Given], Result],
) -> Callable[Concatenate[Session, Given], Result]:
    """Keep what a function read for twenty times as long as reading took.

    A count of a million rows is then up to some seconds old on a page that asks every second, and
    a small one is as good as new. Sessions that write always compute.
    """

    @wraps(compute)
    def recalled(session: Session, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        engine = cast(Engine, session.get_bind())
        if engine.get_execution_options().get("attune_writes"):
            return compute(session, *args, **kwargs)
        asked = (args, tuple(sorted(kwargs.items())))
        key = (str(engine.url), compute.__module__, compute.__qualname__, asked)
        begun = time.monotonic()
        with _lock:
            found = _brief.get(key)
        if found is not None and begun < found[0]:
            return cast(Result, found[1])
        result = compute(session, *args, **kwargs)
        ended = time.monotonic()
        with _lock:
            _brief[key] = (ended + SHARE_OF_TIME * (ended - begun), result)
            _brief.move_to_end(key)
            while len(_brief) > MOST:
                _brief.popitem(last=False)
        return result

    return recalled


def stamp(session: Session, project_id: int) -> Stamp:
    """Return numbers of which one changes with any judgment, skip, member or weight."""
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
    rest = (session.scalar(query) or 0 for query in (withdrawn, skipped, members))
    weights = session.execute(
        select(Criterion.name, Criterion.weight).where(Criterion.project_id == project_id)
    )
    return (int(newest), int(current), *rest, hash(frozenset((name, w) for name, w in weights)))
