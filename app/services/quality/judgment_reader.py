"""Reads a project's judgments into arrays, and later only what has been added.

In a process that computes figures again and again, reading a million judgments each time would take
longer than all the rest. Judgments are only ever added (a correction supersedes an earlier one by a
row of its own), so the arrays of the last reading are brought up to date from the newest rows. What
changes otherwise (a withdrawal, a member's pseudonym, a weight, the prompts' sources or categories)
leads to reading everything again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Double, Select, cast, extract, func, select
from sqlalchemy.orm import Session

from app.domain.ranking import Ranking
from app.models import Comparison, Judgment, Membership, Prompt, Round
from app.services.datasets.implied_rankings import ranking_of
from app.services.project import criteria
from app.services.quality import gold
from app.services.quality.judgment_columns import (
    DTYPES,
    KINDS,
    NO_ROUND,
    NONE,
    PURPOSES,
    AbsoluteEntry,
    JudgmentArrays,
    JudgmentColumns,
    Mask,
)
from app.services.quality.kept_figures import RECENT, SMALL, parts_of_stamp
from app.services.quality.result_memory import ResultMemory, key_of
from app.services.queue import counted_judgments

CHUNK = 20_000
_KIND_INDEX = {str(kind): at for at, kind in enumerate(KINDS)}
_PURPOSE_INDEX = {str(purpose): at for at, purpose in enumerate(PURPOSES)}
_PICKS = {"a": (0, 2, (1,)), "b": (1, 2, (-1,)), "tie": (NONE, 2, (0,))}


@dataclass(slots=True)
class _Reading:
    """What was read: up to which id, and under which state of everything else."""

    columns: JudgmentColumns
    upto: int
    rest: str


_readings: ResultMemory[int] = ResultMemory(most=4)


def read(session: Session, project_id: int) -> JudgmentColumns:
    """Return the judgments that stand, in the order of submission."""
    key = key_of(session, "judgments", project_id)
    last, rest = parts_of_stamp(session, project_id)
    entry = _readings.get(key)
    known: _Reading | None = entry[1] if entry is not None else None
    if known is None or known.rest != rest or known.upto > last:
        known = _Reading(_read_after(session, project_id, 0), last, rest)
    elif known.upto < last or _may_have_missed(session, project_id, known):
        known = _updated(session, project_id, known, last)
    if len(known.columns) > SMALL:
        _readings.put(key, last, known)
    return known.columns.in_order()


def _may_have_missed(session: Session, project_id: int, known: _Reading) -> bool:
    """Whether a judgment has been committed after one with a higher id that was read before."""
    since = known.upto - RECENT
    present = session.scalar(
        select(func.count()).where(
            Judgment.project_id == project_id, Judgment.id > since, counted_judgments.stands()
        )
    )
    return int((known.columns.arrays.id > since).sum()) != present


def _updated(session: Session, project_id: int, known: _Reading, last: int) -> _Reading:
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
    fresh = _read_after(session, project_id, since, known.columns)
    return _Reading(_joined(known.columns.where(kept), fresh), last, known.rest)


def _joined(old: JudgmentColumns, new: JudgmentColumns) -> JudgmentColumns:
    return JudgmentColumns(
        JudgmentArrays.together([old.arrays, new.arrays]),
        np.concatenate([old.sign, new.sign]),
        {**old.absolute, **new.absolute},
        {**old.labelers, **new.labelers},
        new.sources,
        new.categories,
    )


def _read_after(
    session: Session, project_id: int, after: int, known: JudgmentColumns | None = None
) -> JudgmentColumns:
    """Read the judgments after an id; sources and categories keep the numbers they had before."""
    builder = _Builder(session, project_id, known)
    rows = session.execute(_query(session, project_id, after).execution_options(yield_per=CHUNK))
    for chunk in rows.partitions(CHUNK):
        builder.add(chunk)
    return builder.columns()


class _Builder:
    """Turns rows into arrays, chunk by chunk."""

    def __init__(self, session: Session, project_id: int, known: JudgmentColumns | None) -> None:
        self._weights = criteria.weights(session, project_id)
        self._sources = {name: at for at, name in enumerate(known.sources if known else ())}
        self._categories = {name: at for at, name in enumerate(known.categories if known else ())}
        members = select(Membership.user_id, Membership.pseudonym).where(
            Membership.project_id == project_id
        )
        self._labelers = {row.user_id: row.pseudonym for row in session.execute(members)}
        self._arrays: list[JudgmentArrays] = [JudgmentArrays.empty()]
        self._signs: list[np.ndarray[Any, np.dtype[np.int8]]] = [np.zeros(0, dtype=np.int8)]
        self._pending: list[int] = []
        self._absolute: dict[int, AbsoluteEntry] = {}

    def add(self, rows: Sequence[Any]) -> None:
        """Add a chunk of rows."""
        values = [self._values(row) for row in rows]
        columns = zip(*values, strict=True)
        self._arrays.append(
            JudgmentArrays(
                *(np.array(column, dtype=of) for column, of in zip(columns, DTYPES, strict=True))
            )
        )
        self._signs.append(np.array(self._pending, dtype=np.int8))
        self._pending.clear()

    def _values(self, row: Any) -> tuple[Any, ...]:
        """Return a row's entries in the order of the arrays, and note its signs."""
        first, size, signs = self._order(row)
        self._pending.extend(signs)
        if row.ratings is not None or row.thumb is not None:
            self._note_absolute(row)
        shown = row.shown_order
        return (
            *row[:5],
            row.guidelines_version,
            self._sources.setdefault(row.source, len(self._sources)),
            self._categories.setdefault(row.category, len(self._categories)),
            _KIND_INDEX[row.kind],
            _PURPOSE_INDEX[row.purpose],
            not (row.is_surplus or row.is_withdrawn),
            row.strength or 0,
            size,
            first,
            shown[0] if shown else NONE,
            len(shown),
            sum(slot << 4 * completion for slot, completion in enumerate(shown)),
            NONE if row.is_withdrawn else _right(row),
            NONE if row.thumb is None else int(row.thumb == "up"),
            row.active_ms,
            row.submitted,
        )

    def columns(self) -> JudgmentColumns:
        return JudgmentColumns(
            JudgmentArrays.together(self._arrays),
            np.concatenate(self._signs),
            self._absolute,
            self._labelers,
            tuple(self._sources),
            tuple(self._categories),
        )

    def _order(self, row: Any) -> tuple[int, int, tuple[int, ...]]:
        """Return the only first choice, the number of completions ranked, and the signs."""
        if row.preferred is not None:
            return _PICKS[row.preferred]
        ranking: Ranking | None = ranking_of(row, self._weights)
        if ranking is None:
            return NONE, 0, ()
        first = ranking.first
        return next(iter(first)) if len(first) == 1 else NONE, len(ranking.ranks), ranking.signs

    def _note_absolute(self, row: Any) -> None:
        labeler = self._labelers.get(row.labeler_id) or f"former member {row.labeler_id}"
        self._absolute[row.id] = AbsoluteEntry(
            row.comparison_id, row.prompt_id, labeler, row.ratings, row.thumb
        )


def _right(row: Any) -> int:
    """Return whether a judgment is as its comparison's gold has it, `NONE` without gold."""
    is_right = gold.is_right(row.gold_answer, row)
    return NONE if is_right is None else int(is_right)


def _query(session: Session, project_id: int, after: int) -> Select[Any]:
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
            Judgment.both_bad,
            Judgment.is_surplus,
            Judgment.shown_order,
            Judgment.active_ms,
            Comparison.purpose,
            Comparison.is_withdrawn,
            Comparison.gold_answer,
            Prompt.category,
        )
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .where(
            Judgment.project_id == project_id,
            Judgment.id > after,
            counted_judgments.stands(),
        )
        .order_by(Judgment.id)
    )


def _seconds(session: Session) -> ColumnElement[Any]:
    """Return the time of submission in seconds since 1970."""
    if session.get_bind().dialect.name == "sqlite":
        return (func.julianday(Judgment.submitted_at) - 2440587.5) * 86400.0
    return cast(extract("epoch", Judgment.submitted_at), Double)


def forget() -> None:
    """Forget what this process has read."""
    _readings.clear()
