"""Reads a project's judgments into arrays, and later only what has been added.

In a process that computes figures again and again, reading a million judgments each time would take
longer than all the rest. Judgments are only ever added (a correction supersedes an earlier one by a
row of its own), so the arrays of the last reading are brought up to date from the newest rows. What
changes otherwise (a withdrawal, a member's pseudonym, a weight, the prompts' sources) leads to
reading everything again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Double, Select, cast, extract, func, select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Ranking
from app.models import Comparison, Judgment, Membership, Prompt, Purpose, Round
from app.services.datasets.preferences import ranking_of
from app.services.project import criteria
from app.services.quality.judgment_columns import (
    DTYPES,
    KINDS,
    NO_ROUND,
    AbsoluteEntry,
    JudgmentArrays,
    JudgmentColumns,
    Mask,
    signs_of,
)
from app.services.quality.kept_figures import RECENT, SMALL, parts_of_stamp
from app.services.quality.result_memory import ResultMemory, key_of
from app.services.queue import counted_judgments

CHUNK = 20_000
_KIND_INDEX = {kind: at for at, kind in enumerate(KINDS)}
_PICKS = {"a": (2, (1,)), "b": (2, (-1,)), "tie": (2, (0,))}


@dataclass(slots=True)
class _Reading:
    """What was read: up to which id, and under which state of everything else."""

    columns: JudgmentColumns
    upto: int
    rest: str


_readings: ResultMemory[int] = ResultMemory(most=4)


def read(session: Session, project_id: int, purpose: Purpose = Purpose.TRAIN) -> JudgmentColumns:
    """Return the judgments that count on comparisons of a purpose, in the order of submission."""
    key = key_of(session, "judgments", project_id, purpose)
    last, rest = parts_of_stamp(session, project_id)
    entry = _readings.get(key)
    known: _Reading | None = entry[1] if entry is not None else None
    if known is None or known.rest != rest or known.upto > last:
        known = _Reading(_read_after(session, project_id, purpose, 0), last, rest)
    else:
        known = _updated(session, project_id, purpose, known, last)
    if len(known.columns) > SMALL:
        _readings.put(key, last, known)
    return known.columns.in_order()


def _updated(
    session: Session, project_id: int, purpose: Purpose, known: _Reading, last: int
) -> _Reading:
    """Replace the newest judgments by what is there now, and drop what they supersede."""
    since = known.upto - RECENT  # some with these ids may have been committed since
    superseded = session.scalars(
        select(Judgment.supersedes_id).where(
            Judgment.project_id == project_id,
            Judgment.id > since,
            Judgment.supersedes_id.is_not(None),
        )
    )
    ids = known.columns.arrays.id
    kept: Mask = (ids <= since) & ~np.isin(ids, np.array(list(superseded), dtype=np.int64))
    fresh = _read_after(session, project_id, purpose, since, known.columns.sources)
    return _Reading(_joined(known.columns.where(kept), fresh), last, known.rest)


def _joined(old: JudgmentColumns, new: JudgmentColumns) -> JudgmentColumns:
    return JudgmentColumns(
        JudgmentArrays.together([old.arrays, new.arrays]),
        np.concatenate([old.sign, new.sign]),
        {**old.absolute, **new.absolute},
        {**old.labelers, **new.labelers},
        new.sources,
    )


def _read_after(
    session: Session,
    project_id: int,
    purpose: Purpose,
    after: int,
    sources: Sequence[str] = (),
) -> JudgmentColumns:
    builder = _Builder(session, project_id, sources)
    rows = session.execute(
        _query(session, project_id, purpose, after).execution_options(yield_per=CHUNK)
    )
    for chunk in rows.partitions(CHUNK):
        builder.add(chunk)
    return builder.columns()


class _Builder:
    """Turns rows into arrays, chunk by chunk."""

    def __init__(self, session: Session, project_id: int, sources: Sequence[str]) -> None:
        self._weights = criteria.weights(session, project_id)
        self._sources = {name: at for at, name in enumerate(sources)}
        members = select(Membership.user_id, Membership.pseudonym).where(
            Membership.project_id == project_id
        )
        self._labelers = {row.user_id: row.pseudonym for row in session.execute(members)}
        self._arrays: list[JudgmentArrays] = [JudgmentArrays.empty()]
        self._signs: list[np.ndarray[Any, np.dtype[np.int8]]] = [np.zeros(0, dtype=np.int8)]
        self._absolute: dict[int, AbsoluteEntry] = {}

    def add(self, rows: Sequence[Any]) -> None:
        signs: list[int] = []
        sizes: list[int] = []
        for row in rows:
            size, of_row = self._ranking(row)
            sizes.append(size)
            signs.extend(of_row)
            if row.ratings is not None or row.thumb is not None:
                self._note_absolute(row)
        columns = list(zip(*rows, strict=True))
        source = [self._sources.setdefault(name, len(self._sources)) for name in columns[5]]
        kind = [_KIND_INDEX[JudgmentKind(name)] for name in columns[6]]
        strength = [given or 0 for given in columns[8]]
        given = (*columns[:5], columns[7], source, kind, strength, sizes, columns[9])
        # The order of the fields: id, comparison, prompt, labeler, round, version, source, kind …
        self._arrays.append(
            JudgmentArrays(
                *(
                    np.array(values, dtype=dtype)
                    for values, dtype in zip(given, DTYPES, strict=True)
                )
            )
        )
        self._signs.append(np.array(signs, dtype=np.int8))

    def columns(self) -> JudgmentColumns:
        return JudgmentColumns(
            JudgmentArrays.together(self._arrays),
            np.concatenate(self._signs),
            self._absolute,
            self._labelers,
            tuple(self._sources),
        )

    def _ranking(self, row: Any) -> tuple[int, tuple[int, ...]]:
        if row.preferred is not None:
            return _PICKS[row.preferred]
        ranking: Ranking | None = ranking_of(row, self._weights)
        return signs_of(ranking)

    def _note_absolute(self, row: Any) -> None:
        labeler = self._labelers.get(row.labeler_id) or f"former member {row.labeler_id}"
        self._absolute[row.id] = AbsoluteEntry(
            row.comparison_id, row.prompt_id, labeler, row.ratings, row.thumb
        )


def _query(session: Session, project_id: int, purpose: Purpose, after: int) -> Select[Any]:
    return (
        select(
            Judgment.id,
            Judgment.comparison_id,
            Comparison.prompt_id,
            Judgment.labeler_id,
            func.coalesce(Round.number, NO_ROUND).label("round"),
            Prompt.source,
            Judgment.kind,
            Judgment.guidelines_version,
            Judgment.strength,
            _seconds(session).label("submitted"),
            Judgment.preferred,
            Judgment.ranking,
            Judgment.ratings,
            Judgment.thumb,
        )
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .where(
            Judgment.project_id == project_id,
            Judgment.id > after,
            counted_judgments.counts(),
            Comparison.purpose == purpose,
        )
        .order_by(Judgment.id)
    )


def _seconds(session: Session) -> ColumnElement[Any]:
    """Return the time of submission in seconds since 1970."""
    if session.get_bind().dialect.name == "sqlite":
        return (func.julianday(Judgment.submitted_at) - 2440587.5) * 86400.0
    return cast(extract("epoch", Judgment.submitted_at), Double)
