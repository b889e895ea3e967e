"""The process that computes the figures of large projects, so that no page has to wait for one.

It looks for figures that pages have asked for and that no longer match the judgments. While
judgments keep coming, all figures together take at most a small share of a core: a figure rests in
proportion to what it cost, so cheap ones are fresher. As soon as no judgment has come for a few
seconds, what is not too expensive is computed at once. What somebody waits for comes first.
Of several such processes, one holds the lease and works.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Select, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import Database, now
from app.models import FigureRefresher, KeptFigure
from app.services.quality import (
    agreement,
    kept_figures,
    labeler_quality,
    leaderboard,
    weight_proposals,
)

CORE_SHARE = 0.04  # of figures; looking for stale ones comes on top, about 6 ms a second
LOOK_EVERY_S = 1.0
QUIET_S = 4.0  # without a judgment, after which figures are computed at once …
CHEAP_S = 10.0  # … if they cost no more CPU time than this
LEASE = timedelta(seconds=20)
WANTED_FOR = timedelta(days=7)  # a figure that no page has asked for since is no longer refreshed

KEEPERS = (agreement, labeler_quality, leaderboard, weight_proposals)
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
        self._schedule = RefreshSchedule()

    def stop(self) -> None:
        """Return from `run` after the figure that is being computed."""
        self._stopping.set()

    def run(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Refresh figures until stopped or no longer wanted; an unreachable database can wait."""
        threading.Thread(target=self._hold_lease, name="lease", daemon=True).start()
        while not self._stopping.wait(LOOK_EVERY_S) and is_wanted():
            try:
                if holds(self._database, self._holder):
                    self._refresh()
            except SQLAlchemyError as error:
                log.warning("figures were not refreshed", error=str(error))
        self._stopping.set()

    def _hold_lease(self) -> None:
        while True:
            try:
                hold(self._database, self._holder)
            except SQLAlchemyError as error:
                log.warning("the lease of the refresher was not extended", error=str(error))
            if self._stopping.wait(LEASE.total_seconds() / 4):
                return

    def _refresh(self) -> None:
        figures = list(stale(self._database))
        for figure in self._schedule.due(figures, time.monotonic()):
            started_s = time.process_time()
            compute(self._database, figure)
            self._schedule.note(figure, time.process_time() - started_s, time.monotonic())
            if self._stopping.is_set():
                return


class RefreshSchedule:
    """Decides which stale figures are computed now."""

    def __init__(self) -> None:
        self._costs_s: dict[tuple[int, str], float] = {}
        self._rest_until_s: dict[tuple[int, str], float] = {}
        self._stamps: dict[int, tuple[str, float]] = {}  # and when they last changed

    def due(self, figures: Sequence[StaleFigure], at_s: float) -> list[StaleFigure]:
        """Return the figures to compute at a moment: those awaited first, then the cheap ones."""
        for figure in figures:
            if self._stamps.get(figure.project_id, ("", 0.0))[0] != figure.stamp:
                self._stamps[figure.project_id] = (figure.stamp, at_s)
        due = [figure for figure in figures if figure.is_first or self._is_due(figure, at_s)]
        return sorted(due, key=lambda figure: (not figure.is_first, self._cost_s(figure)))

    def note(self, figure: StaleFigure, cost_s: float, at_s: float) -> None:
        """Note what a figure has cost in CPU seconds; it rests in proportion."""
        key = (figure.project_id, figure.name)
        self._costs_s[key] = cost_s
        self._rest_until_s[key] = at_s + cost_s * len(self._costs_s) / CORE_SHARE

    def _is_due(self, figure: StaleFigure, at_s: float) -> bool:
        quiet_s = at_s - self._stamps[figure.project_id][1]
        if quiet_s >= QUIET_S and self._cost_s(figure) <= CHEAP_S:
            return True
        return at_s >= self._rest_until_s.get((figure.project_id, figure.name), 0.0)

    def _cost_s(self, figure: StaleFigure) -> float:
        return self._costs_s.get((figure.project_id, figure.name), 0.0)


def refresh(database: Database) -> int:
    """Compute every stale figure once; return their number."""
    figures = list(stale(database))
    for figure in figures:
        compute(database, figure)
    return len(figures)


def stale(database: Database) -> Iterator[StaleFigure]:
    """Yield the figures that are wanted and do not match the judgments."""
    with database.reader() as session:
        rows = session.execute(
            select(KeptFigure.project_id, KeptFigure.name, KeptFigure.stamp, KeptFigure.as_of)
            .where(KeptFigure.wanted_at >= now(session) - WANTED_FOR)
            .order_by(KeptFigure.id)
        ).all()
        stamps = {
            project_id: kept_figures.stamp(session, project_id)
            for project_id in {row.project_id for row in rows}
        }
    for row in rows:
        stamp = stamps[row.project_id]
        if row.as_of is None or row.stamp != stamp:
            yield StaleFigure(row.project_id, row.name, stamp, row.as_of is None)


def compute(database: Database, figure: StaleFigure) -> None:
    """Compute a figure and store it; no transaction is open in the meantime that writes."""
    with database.long_reader() as session:
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
