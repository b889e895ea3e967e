"""Figures of a project's judgments: computed once, kept, and never computed while a page waits.

`kept` wraps a function of a session, a project and plain arguments. As long as the project is
small, a figure is computed on demand whenever the judgments have changed. In a large project it
takes seconds or more: there, a process of its own (`figure_refresher`) computes each figure that
pages ask for, and pages show the latest result with the time it is of. A figure that has never been
computed raises `FigurePending`. On a database that no such process has ever served, figures are
computed on demand, however long that takes.

Sessions that write neither read nor fill the memory: what they see may be rolled back.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, wraps
from queue import SimpleQueue
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, get_type_hints

import structlog
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.states import AssignmentState
from app.errors import FigurePending
from app.models import (
    Assignment,
    AuditEvent,
    Comparison,
    Criterion,
    FigureRefresher,
    Job,
    Judgment,
    KeptFigure,
    Membership,
    Project,
)
from app.services.judging import ai_judgments
from app.services.quality.result_memory import ResultMemory, is_writing, key_of

NAME_MOST = 300  # characters; figures of longer names, as of many categories, are not kept
SMALL = 8_000  # judgments, up to which figures are computed on demand
RECENT = 1_000  # judgments whose commit may come after that of a later one
COMPUTING = "computes_figures"  # key of a session's info
WANTED_EVERY_S = 60.0  # how often a request for the same figure is recorded

Params = ParamSpec("Params")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FigureFunction:
    """A function whose results are kept, and how they are written as JSON."""

    name: str
    compute: Callable[..., Any]

    @property
    def adapter(self) -> TypeAdapter[Any]:
        """What encodes and decodes the results."""
        return _adapter(self.compute)


FUNCTIONS: dict[str, FigureFunction] = {}

_memory: ResultMemory[str] = ResultMemory()
_large: set[tuple[str, int]] = set()  # projects that have outgrown `SMALL`


def kept(
    compute: Callable[Concatenate[Session, int, Params], Result],
) -> Callable[Concatenate[Session, int, Params], Result]:
    """Keep the results of a function of a project's judgments; its arguments are plain values."""
    function = FigureFunction(
        f"{compute.__module__.rsplit('.', 1)[-1]}.{compute.__name__}", compute
    )
    FUNCTIONS[function.name] = function

    @wraps(compute)
    def lookup(
        session: Session, project_id: int, /, *args: Params.args, **kwargs: Params.kwargs
    ) -> Result:
        if is_writing(session) or session.info.get(COMPUTING):
            return compute(session, project_id, *args, **kwargs)
        key = key_of(session, function.name, project_id, *args, **kwargs)
        present = _stamp_of_session(session, project_id)
        entry = _memory.get(key)
        if entry is not None and entry[0] == present:
            return cast(Result, entry[1])
        if _is_large(session, project_id) and has_refresher(session):
            name = figure_name(function, args, kwargs)
            if len(name) <= NAME_MOST:
                return cast(Result, _read(session, project_id, function, name, present))
        result = compute(session, project_id, *args, **kwargs)
        _memory.put(key, present, result)
        return result

    return lookup


def as_of(session: Session) -> datetime | None:
    """Return the time of the oldest figure that this session was given late; None if there is none.

    A page says so, because newer judgments are not in its figures yet.
    """
    late: list[datetime] = session.info.get("late_figures", [])
    return min(late, default=None)


def figure_name(function: FigureFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the name under which a figure is kept: of its function, and its arguments as JSON."""
    given = {name: value for name, value in sorted(kwargs.items()) if value not in (None, ())}
    return function.name + json.dumps([list(args), given], separators=(",", ":"))


def call(session: Session, project_id: int, name: str) -> str | None:
    """Compute the figure of a name, as JSON; None if no function of this version has that name."""
    function_name, bracket, arguments = name.partition("[")
    function = FUNCTIONS.get(function_name)
    if function is None:
        return None
    args, kwargs = json.loads(bracket + arguments)
    session.info[COMPUTING] = True  # figures that it is made of are computed too
    result = function.compute(session, project_id, *args, **kwargs)
    return function.adapter.dump_json(result).decode()


def has_refresher(session: Session) -> bool:
    """Whether a process that refreshes figures has ever worked on this database."""
    return session.scalar(select(FigureRefresher.id).where(FigureRefresher.id == 1)) is not None


def is_costly(session: Session, project_id: int) -> bool:
    """Whether a figure of a project would be computed now, although that takes long."""
    is_now = is_writing(session) or not has_refresher(session)
    return is_now and _is_large(session, project_id)


def needs_refresher(session: Session) -> bool:
    """Whether some project may have outgrown what is computed on demand."""
    return (session.scalar(select(func.max(Judgment.id))) or 0) > SMALL


def stamp(session: Session, project_id: int) -> str:
    """Return a text that changes with any judgment, skip, withdrawal, member, weight, label or act.

    AI judgments change it as the progress of their jobs does.

    It must cost next to nothing with millions of judgments. Rows are only ever added, so the newest
    id would do, but for a judgment that is committed after one with a higher id: hence the count of
    the latest ones.
    """
    last, rest = parts_of_stamp(session, project_id)
    recent = select(func.count()).where(
        Judgment.project_id == project_id, Judgment.id > last - RECENT
    )
    skipped = select(func.count()).where(
        Assignment.project_id == project_id, Assignment.state == AssignmentState.SKIPPED
    )
    counts = f"{session.scalar(recent) or 0}:{session.scalar(skipped) or 0}"
    return f"{last}:{counts}:{_judged_by_ai(session, project_id)}:{rest}"


def _judged_by_ai(session: Session, project_id: int) -> str:
    """Return a text that changes as AI judges go on: from their jobs, which are few."""
    done, ended_at = session.execute(
        select(func.sum(Job.progress_done), func.max(Job.ended_at)).where(
            Job.project_id == project_id, Job.kind == ai_judgments.JOB_KIND
        )
    ).one()
    return f"{done or 0} {ended_at or ''}"


def parts_of_stamp(session: Session, project_id: int) -> tuple[int, str]:
    """Return the newest judgment's id, and a text that changes with all but judgments and skips."""
    # As the indexes have it: SQLite would read all rows of the project for `max` and `= 1`.
    newest = select(Judgment.id).where(Judgment.project_id == project_id)
    newest = newest.order_by(Judgment.id.desc()).limit(1)
    withdrawn = select(func.count(Comparison.id)).where(
        Comparison.project_id == project_id, text("comparison.is_withdrawn")
    )
    members = select(func.count()).where(Membership.project_id == project_id)
    act = select(func.max(AuditEvent.id)).where(AuditEvent.project_id == project_id)
    labels = select(Project.prompt_changes).where(Project.id == project_id)
    counts = [session.scalar(query) or 0 for query in (withdrawn, members, act, labels)]
    weights = session.execute(
        select(Criterion.name, Criterion.weight)
        .where(Criterion.project_id == project_id)
        .order_by(Criterion.name)
    )
    rated = json.dumps([[name, weight] for name, weight in weights]).encode()
    rest = ":".join(map(str, (*counts, hashlib.sha256(rated).hexdigest()[:16])))
    return session.scalar(newest) or 0, rest


def _stamp_of_session(session: Session, project_id: int) -> str:
    """Return the stamp, read once per session: all figures of a page are of the same moment."""
    stamps: dict[int, str] = session.info.setdefault("figure_stamps", {})
    if project_id not in stamps:
        stamps[project_id] = stamp(session, project_id)
    return stamps[project_id]


def forget() -> None:
    """Forget every result in this process."""
    _memory.clear()
    _large.clear()


def _read(
    session: Session, project_id: int, function: FigureFunction, name: str, present: str
) -> Any:
    """Return the figure that is kept, late or not.

    Raises:
        FigurePending: it has not been computed yet.
    """
    key = key_of(session, "kept", project_id, name)
    row = session.execute(
        select(KeptFigure.stamp, KeptFigure.as_of).where(
            KeptFigure.project_id == project_id, KeptFigure.name == name
        )
    ).one_or_none()
    _wants.note(session.info["database"], project_id, name)
    if row is None or row.as_of is None:
        raise FigurePending("this figure is being computed; it will be there in a moment")
    if row.stamp != present:
        session.info.setdefault("late_figures", []).append(row.as_of)
    entry = _memory.get(key)
    if entry is not None and entry[0] == f"{row.stamp} {row.as_of}":
        return entry[1]
    value = session.scalar(
        select(KeptFigure.value).where(KeptFigure.project_id == project_id, KeptFigure.name == name)
    )
    try:
        result = function.adapter.validate_json(value or "")
    except ValidationError:  # of an earlier version, with other fields
        raise FigurePending("this figure is being computed again after an upgrade") from None
    _memory.put(key, f"{row.stamp} {row.as_of}", result)
    return result


def _is_large(session: Session, project_id: int) -> bool:
    place = (str(session.get_bind().engine.url), project_id)
    if place in _large:
        return True
    some = select(Judgment.id).where(Judgment.project_id == project_id).limit(SMALL + 1).subquery()
    is_large = (session.scalar(select(func.count()).select_from(some)) or 0) > SMALL
    if is_large:
        _large.add(place)
    return is_large


class _Wants:
    """Records which figures pages ask for, from a thread: pages are read in read-only sessions."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, int, str], float] = {}
        self._queue: SimpleQueue[tuple[Database, int, str]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self, database: Database, project_id: int, name: str) -> None:
        place = (str(database.engine.url), project_id, name)
        with self._lock:
            if time.monotonic() - self._noted.get(place, -WANTED_EVERY_S) < WANTED_EVERY_S:
                return
            self._noted[place] = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wants", daemon=True)
                self._thread.start()
        self._queue.put((database, project_id, name))

    def _run(self) -> None:
        while True:
            database, project_id, name = self._queue.get()
            try:
                record_want(database, project_id, name)
            except SQLAlchemyError as error:  # the next request for the figure tries again
                log.warning("a request for a figure was not recorded", error=str(error))


def record_want(database: Database, project_id: int, name: str) -> None:
    """Record that a page asked for a figure, so that the refresher computes it."""
    try:
        with database.transaction() as session:
            row = session.scalar(
                select(KeptFigure).where(
                    KeptFigure.project_id == project_id, KeptFigure.name == name
                )
            )
            if row is not None:
                row.wanted_at = now(session)
                return
            session.add(KeptFigure(project_id=project_id, name=name, wanted_at=now(session)))
    except IntegrityError:  # another process has just recorded it
        return


_wants = _Wants()


@lru_cache(maxsize=64)
def _adapter(compute: Callable[..., Any]) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(compute)["return"])
