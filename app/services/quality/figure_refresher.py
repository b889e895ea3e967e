"""The process that computes the figures of large projects, so that no page has to wait for one.

It looks for figures that pages have asked for and that no longer match the judgments, computes them
one by one, and rests in between, so that it never takes more than a small share of a core. Of
several such processes, one holds the lease and works.
"""

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Select, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import Database, now
from app.models import FigureRefresher, KeptFigure
from app.services.quality import agreement, kept_figures, labeler_quality, weight_proposals

CORE_SHARE = 0.05
LOOK_EVERY_S = 1.0
LEASE = timedelta(seconds=20)
WANTED_FOR = timedelta(days=7)  # a figure that no page has asked for since is no longer refreshed

KEEPERS = (agreement, labeler_quality, weight_proposals)
"""The modules with functions whose results are kept: importing them makes the functions known."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StaleFigure:
    """A figure to compute, and the stamp of the judgments that it will be made of."""

    project_id: int
    name: str
    stamp: str
    is_first: bool  # somebody waits for it


class Refresher:
    """Refreshes figures until it is stopped."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Return from `run` after the figure that is being computed."""
        self._stopping.set()

    def run(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Refresh figures until stopped or no longer wanted; an unreachable database can wait."""
        rest_until_s = 0.0
        threading.Thread(target=self._hold_lease, name="lease", daemon=True).start()
        while not self._stopping.wait(LOOK_EVERY_S) and is_wanted():
            try:
                used_s = self._refresh(is_resting=time.monotonic() < rest_until_s)
            except SQLAlchemyError as error:
                log.warning("figures were not refreshed", error=str(error))
                continue
            if used_s:
                rest_until_s = time.monotonic() + used_s * (1 / CORE_SHARE - 1)
        self._stopping.set()

    def _hold_lease(self) -> None:
        while True:
            try:
                hold(self._database, self._holder)
            except SQLAlchemyError as error:
                log.warning("the lease of the refresher was not extended", error=str(error))
            if self._stopping.wait(LEASE.total_seconds() / 4):
                return

    def _refresh(self, *, is_resting: bool) -> float:
        """Compute what is stale, or while resting only what somebody waits for; return CPU time."""
        if not holds(self._database, self._holder):
            return 0.0
        started_s = time.process_time()
        is_any = False
        for figure in list(stale(self._database, only_first=is_resting)):
            compute(self._database, figure)
            is_any = True
            if self._stopping.is_set():
                break
        gc.collect()
        return time.process_time() - started_s if is_any else 0.0


def refresh(database: Database) -> int:
    """Compute every stale figure once; return their number."""
    figures = list(stale(database))
    for figure in figures:
        compute(database, figure)
    return len(figures)


def stale(database: Database, *, only_first: bool = False) -> Iterator[StaleFigure]:
    """Yield the figures that are wanted and do not match the judgments, the pending ones first."""
    with database.reader() as session:
        wanted = KeptFigure.wanted_at >= now(session) - WANTED_FOR
        query = (
            select(KeptFigure.project_id, KeptFigure.name, KeptFigure.stamp, KeptFigure.as_of)
            .where(wanted)
            .order_by(KeptFigure.as_of.is_not(None), KeptFigure.id)
        )
        if only_first:
            query = query.where(KeptFigure.as_of.is_(None))
        rows = session.execute(query).all()
        stamps: dict[int, str] = {}
        for row in rows:
            if row.project_id not in stamps:
                stamps[row.project_id] = kept_figures.stamp(session, row.project_id)
            if row.as_of is None or row.stamp != stamps[row.project_id]:
                yield StaleFigure(
                    row.project_id, row.name, stamps[row.project_id], row.as_of is None
                )


def compute(database: Database, figure: StaleFigure) -> None:
    """Compute a figure and store it; no transaction is open in the meantime that writes."""
    with database.reader() as session:
        moment = now(session)
        value = kept_figures.call(session, figure.project_id, figure.name)
    with database.transaction() as session:
        row = session.scalars(_row(figure)).one()
        if value is None:
            session.delete(row)
            return
        row.value, row.stamp, row.as_of = value, figure.stamp, moment


def announce(database: Database) -> None:
    """Say that this database has refreshers, before the first of them works."""
    with suppress(IntegrityError), database.transaction() as session:  # another has just said so
        if session.get(FigureRefresher, 1) is None:
            session.add(FigureRefresher(id=1, holder="", seen_at=now(session) - 2 * LEASE))


def hold(database: Database, holder: str) -> None:
    """Take or extend the lease of the refresher, unless another one is alive."""
    announce(database)
    with database.transaction() as session:
        moment = now(session)
        free = (FigureRefresher.holder == holder) | (FigureRefresher.seen_at < moment - LEASE)
        session.execute(
            update(FigureRefresher)
            .where(FigureRefresher.id == 1, free)
            .values(holder=holder, seen_at=moment)
        )


def holds(database: Database, holder: str) -> bool:
    """Whether a refresher has the lease."""
    with database.reader() as session:
        return _holder(session) == holder


def _holder(session: Session) -> str | None:
    return session.scalar(select(FigureRefresher.holder).where(FigureRefresher.id == 1))


def _row(figure: StaleFigure) -> Select[KeptFigure]:
    return select(KeptFigure).where(
        KeptFigure.project_id == figure.project_id, KeptFigure.name == figure.name
    )
