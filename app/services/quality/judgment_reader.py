"""Reads a project's judgments into arrays, and later only what has been added.

In a process that computes figures again and again, reading a million judgments each time would take
longer than all the rest. Judgments are only ever added (a correction supersedes an earlier one by a
row of its own), so the arrays of the last reading are brought up to date from the newest rows. What
changes otherwise (a withdrawal, a member's pseudonym, a weight, the prompts' sources or categories)
leads to reading everything again.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Double, Select, cast, extract, func, select
from sqlalchemy.orm import Session

from app.db.scan import scan
from app.domain.ranking import Ranking
from app.models import Comparison, Judgment, Membership, Prompt, Round
from app.services.datasets.implied_rankings import ranking_of
from app.services.project import criteria
from app.services.quality import gold
from app.services.quality.judgment_columns import (
    KINDS,
    NAMES,
    NO_ROUND,
    NONE,
    PURPOSES,
    AbsoluteEntry,
    JudgmentArrays,
    JudgmentColumns,
    compact,
    pairs_of,
)
from app.services.quality.kept_figures import RECENT, SMALL, parts_of_stamp
from app.services.quality.result_memory import ResultMemory, key_of
from app.services.queue import counted_judgments

CHUNK = 2_000
CHUNKS_APART = 100  # before they are joined
_KIND_INDEX = {str(kind): at for at, kind in enumerate(KINDS)}
_PURPOSE_INDEX = {str(purpose): at for at, purpose in enumerate(PURPOSES)}
_PICKS = {"a": (0, 2, (1,)), "b": (1, 2, (-1,)), "tie": (NONE, 2, (0,))}


@dataclass(slots=True)
class _Notes:
    """What a reading holds beside its columns; sources and categories keep their numbers."""

    sources: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    labelers: dict[int, str] = field(default_factory=dict)
    absolute: dict[int, AbsoluteEntry] = field(default_factory=dict)


@dataclass(slots=True)
class _Reading:
    """What was read: up to which id, and under which state of everything else.

    The columns are replaced one by one when it is brought up to date, so that there is never a
    second copy of all of them. Whoever reads gets a mapping of their own.
    """

    columns: dict[str, NDArray[Any]]
    sign: NDArray[np.int8]
    notes: _Notes
    upto: int
    rest: str
    ordered: JudgmentColumns | None = None

    def __len__(self) -> int:
        return len(self.columns["id"])

    def in_order(self) -> JudgmentColumns:
        """Return the judgments in the order of submission."""
        if self.ordered is None:
            notes = self.notes
            self.ordered = JudgmentColumns(
                JudgmentArrays(dict(self.columns)),
                self.sign,
                dict(notes.absolute),
                dict(notes.labelers),
                tuple(notes.sources),
                tuple(notes.categories),
            ).in_order()
        return self.ordered


_readings: ResultMemory[int] = ResultMemory(most=4)
_locks: defaultdict[Hashable, Lock] = defaultdict(Lock)  # by the key of a reading


def read(session: Session, project_id: int) -> JudgmentColumns:
    """Return the judgments that stand, in the order of submission."""
    key = key_of(session, "judgments", project_id)
    with _locks[key]:
        last, rest = parts_of_stamp(session, project_id)
        entry = _readings.get(key)
        known: _Reading | None = entry[1] if entry is not None else None
        if known is None or known.rest != rest or known.upto > last:
            del entry, known
            _readings.drop(key)  # before the next one is read
            known = _read(session, project_id, last, rest)
        elif known.upto < last or _may_have_missed(session, project_id, known):
            del entry
            _readings.drop(key)  # it is incomplete if this fails
            _update(session, project_id, known, last)
        if len(known) > SMALL:
            _readings.put(key, last, known)
        return known.in_order()


def _may_have_missed(session: Session, project_id: int, known: _Reading) -> bool:
    """Whether a judgment has been committed after one with a higher id that was read before."""
    since = known.upto - RECENT
    present = session.scalar(
        select(func.count()).where(
            Judgment.project_id == project_id, Judgment.id > since, counted_judgments.stands()
        )
    )
    return len(known) - _end(known, since) != present


def _end(known: _Reading, since: int) -> int:
    """Return how many judgments have ids up to one."""
    return int(np.searchsorted(known.columns["id"], since, side="right"))


def _update(session: Session, project_id: int, known: _Reading, last: int) -> None:
    """Replace the newest judgments by what is there now, and drop what they supersede."""
    since = known.upto - RECENT  # some with these ids may have been committed since
    superseded = session.scalars(
        select(Judgment.supersedes_id).where(
            Judgment.project_id == project_id,
            Judgment.id > since,
            Judgment.supersedes_id.is_not(None),
        )
    ).all()
    known.ordered, end = None, _end(known, since)
    gone = _places(known.columns["id"][:end], superseded)
    pairs = pairs_of(known.columns["size"])
    of_gone = np.isin(np.repeat(np.arange(len(pairs)), pairs), gone) if len(gone) else None
    signs = known.sign[: int(pairs[:end].sum())]
    if of_gone is not None:
        signs = signs[~of_gone[: len(signs)]]
    for name in known.columns["id"][gone].tolist() + known.columns["id"][end:].tolist():
        known.notes.absolute.pop(name, None)
    builder = _Builder(session, project_id, known.notes)
    builder.read(session, project_id, since)
    for name in NAMES:
        before = known.columns[name][:end]
        before = np.delete(before, gone) if len(gone) else before
        known.columns[name] = np.concatenate([before, *builder.columns[name]])
    known.sign = np.concatenate([signs, *builder.signs])
    known.upto = last


def _places(ids: NDArray[Any], wanted: Sequence[int | None]) -> NDArray[np.int64]:
    """Return where the wanted ones of ascending ids are; those that are not there are left out."""
    names = np.array(wanted, dtype=np.int64)
    at = np.searchsorted(ids, names)
    at, names = at[at < len(ids)], names[at < len(ids)]
    found: NDArray[np.int64] = at[ids[at] == names]
    return found


def _read(session: Session, project_id: int, last: int, rest: str) -> _Reading:
    """Read all judgments."""
    builder = _Builder(session, project_id, _Notes())
    builder.read(session, project_id, 0)
    columns = {}
    for name in NAMES:
        columns[name] = np.concatenate(builder.columns.pop(name))
    return _Reading(columns, np.concatenate(builder.signs), builder.notes, last, rest)


class _Builder:
    """Turns rows into arrays, chunk by chunk."""

    def __init__(self, session: Session, project_id: int, notes: _Notes) -> None:
        self.notes = notes
        self._weights = criteria.weights(session, project_id)
        members = select(Membership.user_id, Membership.pseudonym).where(
            Membership.project_id == project_id
        )
        notes.labelers.update((row.user_id, row.pseudonym) for row in session.execute(members))
        self.columns: dict[str, list[NDArray[Any]]] = {name: [compact(name, ())] for name in NAMES}
        self.signs: list[NDArray[np.int8]] = [np.zeros(0, dtype=np.int8)]
        self._pending: list[int] = []

    def read(self, session: Session, project_id: int, after: int) -> None:
        """Read the judgments after an id."""
        query = _query(session, project_id)
        for chunk in scan(session, query, Judgment.id, size=CHUNK, after=after):
            self._add(chunk)

    def _add(self, rows: Sequence[Any]) -> None:
        values = [self._values(row) for row in rows]
        for name, column in zip(NAMES, zip(*values, strict=True), strict=True):
            self.columns[name].append(compact(name, column))
        self.signs.append(np.array(self._pending, dtype=np.int8))
        self._pending.clear()
        if len(self.signs) > CHUNKS_APART:
            self._join()

    def _join(self) -> None:
        """Join the chunks: the memory of very many small arrays is not given back."""
        for name, chunks in self.columns.items():
            self.columns[name] = [np.concatenate(chunks)]
        self.signs = [np.concatenate(self.signs)]

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
            self.notes.sources.setdefault(row.source, len(self.notes.sources)),
            self.notes.categories.setdefault(row.category, len(self.notes.categories)),
            _KIND_INDEX[row.kind],
            _PURPOSE_INDEX[row.purpose],
            not (row.is_surplus or row.is_withdrawn),
            row.is_chosen,
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
        labeler = self.notes.labelers.get(row.labeler_id) or f"former member {row.labeler_id}"
        self.notes.absolute[row.id] = AbsoluteEntry(
            row.comparison_id, row.prompt_id, labeler, row.ratings, row.thumb
        )


def _right(row: Any) -> int:
    """Return whether a judgment is as its comparison's gold has it, `NONE` without gold."""
    is_right = gold.is_right(row.gold_answer, row)
    return NONE if is_right is None else int(is_right)


def _query(session: Session, project_id: int) -> Select[Any]:
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
            Comparison.chosen.is_not(None).label("is_chosen"),
            Prompt.category,
        )
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .where(Judgment.project_id == project_id, counted_judgments.stands())
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
