"""The judgments of a project as arrays: what agreement is computed from, at any size.

A million judgments as objects take a gigabyte and a minute; as arrays of the narrowest types they
take forty megabytes, and any part of them is a mask. They are read from the database by
`judgment_reader`.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.domain.judgment_kinds import JudgmentKind
from app.domain.krippendorff import PART, Indices, Numbers, narrowed, parts
from app.domain.ranking import Strength
from app.domain.votes import VoteTable
from app.models import Purpose

Mask = NDArray[np.bool_]

KINDS = tuple(JudgmentKind)
PURPOSES = tuple(Purpose)
NO_ROUND = 0
NONE = -1


@dataclass(frozen=True, slots=True)
class AbsoluteEntry:
    """The ratings or the thumb that a judgment gives to single completions."""

    comparison_id: int
    prompt_id: int
    labeler: str
    ratings: Mapping[str, Sequence[int]] | None
    thumb: str | None


Item = TypeVar("Item", bound=np.generic)


class Column(Generic[Item]):
    """A column of `JudgmentArrays`, of the chosen entries only."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Note the name of the column."""
        self._name = name

    def __get__(self, arrays: "JudgmentArrays", owner: type) -> NDArray[Item]:
        """Return the entries."""
        return arrays.column(self._name)


Number = Column[np.signedinteger[Any]]
"""Integers in the narrowest type that holds all of the column: widen them before arithmetic."""


class JudgmentArrays:
    """One entry per judgment that stands, in the order of their ids unless chosen otherwise.

    `size` is the number of completions that a judgment ranks, 0 if it implies no preference. The
    pairs of a ranking follow each other in `JudgmentColumns.sign`, in the order of
    `itertools.combinations`: 1 if the first is better, -1 if the second is, 0 if they are tied.

    Choosing entries copies no column: only what is asked for is taken, each time anew.
    """

    id = Number()
    comparison = Number()
    prompt = Number()
    labeler = Number()  # user ids
    round = Number()  # numbers; `NO_ROUND` outside rounds
    version = Number()  # of the guidelines
    source = Number()  # index into `sources`
    category = Number()  # index into `categories`
    kind = Number()  # index into `KINDS`
    purpose = Number()  # index into `PURPOSES`
    counts = Column[np.bool_]()  # it fills a slot of a comparison that is not withdrawn
    chosen = Column[np.bool_]()  # a rule chose its comparison, which was not drawn at random
    strength = Number()  # 0: none given
    size = Number()
    first = Number()  # the only completion ranked first; `NONE` if there are several
    shown = Number()  # the completion shown first; `NONE` if it is not recorded
    shown_size = Number()  # completions on screen
    slots = Number()  # four bits for each completion: its place on screen
    right = Number()  # 1: as in gold, 0: not, `NONE`: no gold in force
    thumb = Number()  # 1: up, 0: down, `NONE`
    active_ms = Number()
    submitted = Column[np.float64]()  # seconds since 1970, UTC

    def __init__(self, columns: Mapping[str, NDArray[Any]], rows: Numbers | None = None) -> None:
        self._columns = columns
        self._rows = rows

    def __len__(self) -> int:
        return len(self._columns["id"] if self._rows is None else self._rows)

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of the chosen entries."""
        column = self._columns[name]
        return column if self._rows is None else column[self._rows]

    @classmethod
    def empty(cls) -> "JudgmentArrays":
        """Return arrays without entries."""
        return cls({name: compact(name, ()) for name in NAMES})

    def where(self, mask: Mask | Numbers) -> "JudgmentArrays":
        """Return the entries of a mask, or those at some places."""
        if self._rows is not None:
            return JudgmentArrays(self._columns, self._rows[mask])
        places: NDArray[Any] = np.flatnonzero(mask) if mask.dtype == bool else mask
        return JudgmentArrays(self._columns, narrowed(places))


NAMES = tuple(name for name, value in vars(JudgmentArrays).items() if isinstance(value, Column))


def compact(name: str, values: Sequence[Any]) -> NDArray[Any]:
    """Return a column of values in its narrowest type."""
    if name == "submitted":
        return np.array(values, dtype=np.float64)
    if name in ("counts", "chosen"):
        return np.array(values, dtype=np.bool_)
    return narrowed(np.array(values, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class JudgmentColumns:
    """The judgments that stand, or a part of them."""

    arrays: JudgmentArrays
    sign: NDArray[np.int8]
    absolute: Mapping[int, AbsoluteEntry]  # by the id of the judgment
    labelers: Mapping[int, str]  # pseudonyms by user id
    sources: tuple[str, ...]
    categories: tuple[str, ...]  # of the prompts; empty: none

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def kinds(self) -> dict[JudgmentKind, int]:
        """The number of judgments by kind, without zeros."""
        counts = np.bincount(self.arrays.kind, minlength=len(KINDS)).tolist()
        return {kind: count for kind, count in zip(KINDS, counts, strict=True) if count}

    @property
    def is_preference(self) -> Mask:
        """Which judgments imply a preference."""
        return self.arrays.size > 0

    @property
    def is_tie(self) -> Mask:
        """Which judgments find all completions equal."""
        pairs = pairs_of(self.arrays.size)
        untied = np.zeros(len(self), dtype=bool)
        untied[_of_pairs(pairs, self.sign != 0)] = True
        return (pairs > 0) & ~untied

    def of_purpose(self, purpose: Purpose) -> "JudgmentColumns":
        """Return the judgments that count on comparisons of a purpose."""
        arrays = self.arrays
        return self.where(arrays.counts & (arrays.purpose == PURPOSES.index(purpose)))

    def where(self, mask: Mask) -> "JudgmentColumns":
        """Return the part of a mask; the whole is returned as it is."""
        if mask.all():
            return self
        arrays = self.arrays.where(mask)
        kept = set(arrays.id.tolist()) if self.absolute else set()
        return replace(
            self,
            arrays=arrays,
            sign=_signs_of(self.sign, self.arrays.size, np.flatnonzero(mask)),
            absolute={name: entry for name, entry in self.absolute.items() if name in kept},
        )

    def in_order(self) -> "JudgmentColumns":
        """Return the judgments in the order in which they were submitted."""
        submitted = self.arrays.submitted
        if bool((submitted[1:] >= submitted[:-1]).all()):
            return self
        order = narrowed(np.argsort(submitted, kind="stable"))
        sign = _signs_of(self.sign, self.arrays.size, order)
        return replace(self, arrays=self.arrays.where(order), sign=sign)

    def table(self) -> VoteTable:
        """Return the votes that the judgments imply; those without a preference are left out."""
        return self._table(self.sign + np.int8(1), 1)

    def shown_signs(self) -> NDArray[np.int8]:
        """Return for each sign 1 if the first of the pair was shown before the second, -1 if after.

        Where the order on screen was not recorded, it is 0.
        """
        arrays, pairs = self.arrays, pairs_of(self.arrays.size)
        is_known = arrays.shown_size >= arrays.size
        if int(pairs.max(initial=0)) <= 1:
            votes = pairs > 0
            slots = arrays.slots[votes]
            order = ((slots >> 4) & 15) - (slots & 15)
            return np.where(is_known[votes], np.sign(order), 0).astype(np.int8)
        first, second = pair_positions(arrays.size, pairs)
        slots = np.repeat(arrays.slots.astype(np.int64), pairs)
        order = ((slots >> 4 * second) & 15) - ((slots >> 4 * first) & 15)
        return np.where(np.repeat(is_known, pairs), np.sign(order), 0).astype(np.int8)

    def strength_table(self) -> VoteTable | None:
        """Return the votes with their strengths; None unless every vote is a pick with one."""
        size, strength = self.arrays.size, self.arrays.strength
        votes = size > 0
        if not votes.any() or (size[votes] != 2).any():
            return None
        given = strength[votes].astype(np.int8)
        if ((given == 0) & (self.sign != 0)).any():
            return None
        reach = int(max(Strength))
        return self._table(np.int8(reach) + self.sign * given, reach)

    def _table(self, code: Numbers, reach: int) -> VoteTable:
        votes = self.is_preference
        arrays = self.arrays if votes.all() else self.arrays.where(votes)
        names, first, comparison = numbered(arrays.comparison)
        sizes = arrays.size
        size = sizes[first].astype(np.int64)
        units = size * (size - 1) // 2
        people, _, labeler = numbered(arrays.labeler)
        is_paired = bool((size == 2).all())
        if is_paired:
            unit, owner = comparison, narrowed(np.arange(len(names)))
        else:
            pairs, starts = pairs_of(sizes).astype(np.int64), np.cumsum(units) - units
            unit = narrowed(np.repeat(starts[comparison], pairs) + _within(pairs))
            labeler = np.repeat(labeler, pairs)
            owner = narrowed(np.repeat(np.arange(len(names)), units))
        return VoteTable(
            comparisons=array("q", names.astype(np.int64).tobytes()),
            labelers=tuple(self.name_of(user_id) for user_id in people.tolist()),
            unit=unit,
            labeler=labeler,
            code=code,
            owner=owner,
            cluster=numbered(arrays.prompt[first])[2],
            values=np.arange(-reach, reach + 1, dtype=float),
            judgments=len(arrays),
            has_rankings=bool((size > 2).any()),
        )

    def name_of(self, user_id: int) -> str:
        """Return the pseudonym of a labeler."""
        return self.labelers.get(user_id) or f"former member {user_id}"


def pairs_of(size: Numbers) -> Numbers:
    """Return the number of pairs of rankings of so many completions."""
    wide = size.astype(np.int16)
    pairs: Numbers = wide * (wide - 1) // 2
    return pairs


def _of_pairs(pairs: Numbers, mask: Mask) -> Numbers:
    """Return the judgment of each pair of a mask."""
    if int(pairs.max(initial=0)) <= 1:
        return np.flatnonzero(pairs)[mask]
    return np.repeat(np.arange(len(pairs)), pairs)[mask]


def _signs_of(sign: NDArray[np.int8], size: Numbers, places: Numbers) -> NDArray[np.int8]:
    """Return the signs of the judgments at some places."""
    pairs = pairs_of(size)
    if int(pairs.max(initial=0)) <= 1:
        votes = pairs > 0
        at = np.cumsum(votes, dtype=np.int32 if len(votes) < 1 << 31 else np.int64) - 1
        of_places: NDArray[np.int8] = sign[at[places[votes[places]]]]
        return of_places
    wide = pairs.astype(np.int64)
    starts, chosen = np.cumsum(wide) - wide, wide[places]
    return sign[np.repeat(starts[places], chosen) + _within(chosen)]


def numbered(values: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Number values from 0 by first appearance.

    Returns the distinct values, where each is first, and the number of every value. Ids lie close
    together as a rule: then a table of all of them takes the place of sorting.
    """
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, -1)
    span = high - low + 1
    if span > 2 * len(values) + PART:
        distinct, first, inverse = np.unique(values, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return distinct[order], first[order], narrowed(rank[inverse])
    at = np.full(span, -1, dtype=np.int64)
    for part in reversed(list(parts(len(values)))):  # so that the first place is what stays
        of_part = values[part][::-1].astype(np.int64) - low
        at[of_part] = np.arange(part.start + len(of_part) - 1, part.start - 1, -1)
    present = np.flatnonzero(at >= 0)
    present = present[np.argsort(at[present], kind="stable")]
    first = at[present]
    at[present] = np.arange(len(present))
    numbers = narrowed(at)
    found = np.empty(len(values), dtype=numbers.dtype)
    for part in parts(len(values)):
        found[part] = numbers[values[part].astype(np.int64) - low]
    return present + low, first, found


def pair_positions(size: Numbers, pairs: Numbers) -> tuple[Indices, Indices]:
    """Return the positions of both completions of each pair of rankings of these sizes."""
    first, second = np.zeros((2, int(pairs.sum())), dtype=np.int64)
    starts = np.cumsum(pairs, dtype=np.int64) - pairs
    for each in np.unique(size[pairs > 0]).tolist():
        at = starts[size == each][:, None] + np.arange(each * (each - 1) // 2)
        first[at], second[at] = np.triu_indices(each, 1)
    return first, second


def _within(counts: Indices) -> Indices:
    """Count from 0 within each run of so many entries."""
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(starts, counts)
