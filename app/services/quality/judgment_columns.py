"""The judgments of a project as arrays: what agreement is computed from, at any size.

A million judgments as objects take a gigabyte and a minute; as arrays they take fifty megabytes,
and any part of them is a mask. They are read from the database by `judgment_reader`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.judgment_kinds import JudgmentKind
from app.domain.krippendorff import Indices
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


@dataclass(frozen=True, slots=True)
class JudgmentArrays:
    """One entry per judgment that stands, in the order of their ids.

    `size` is the number of completions that a judgment ranks, 0 if it implies no preference. The
    pairs of a ranking follow each other in `JudgmentColumns.sign`, in the order of
    `itertools.combinations`: 1 if the first is better, -1 if the second is, 0 if they are tied.
    """

    id: NDArray[np.int64]
    comparison: NDArray[np.int64]
    prompt: NDArray[np.int64]
    labeler: NDArray[np.int64]  # user ids
    round: NDArray[np.int32]  # numbers; `NO_ROUND` outside rounds
    version: NDArray[np.int32]  # of the guidelines
    source: NDArray[np.int32]  # index into `sources`
    category: NDArray[np.int32]  # index into `categories`
    kind: NDArray[np.int8]  # index into `KINDS`
    purpose: NDArray[np.int8]  # index into `PURPOSES`
    counts: NDArray[np.bool_]  # it fills a slot of a comparison that is not withdrawn
    strength: NDArray[np.int8]  # 0: none given
    size: NDArray[np.int8]
    first: NDArray[np.int8]  # the only completion ranked first; `NONE` if there are several
    shown: NDArray[np.int8]  # the completion shown first; `NONE` if it is not recorded
    shown_size: NDArray[np.int8]  # completions on screen
    slots: NDArray[np.int64]  # four bits for each completion: its place on screen
    right: NDArray[np.int8]  # 1: as in gold, 0: not, `NONE`: no gold in force
    thumb: NDArray[np.int8]  # 1: up, 0: down, `NONE`
    active_ms: NDArray[np.int32]
    submitted: NDArray[np.float64]  # seconds since 1970, UTC

    @classmethod
    def empty(cls) -> "JudgmentArrays":
        """Return arrays without entries."""
        return cls(*(np.zeros(0, dtype=dtype) for dtype in DTYPES))

    @classmethod
    def together(cls, parts: Sequence["JudgmentArrays"]) -> "JudgmentArrays":
        """Return the entries of all parts."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def where(self, mask: Mask | Indices) -> "JudgmentArrays":
        """Return the entries of a mask, or those at some places."""
        return JudgmentArrays(*(getattr(self, field.name)[mask] for field in fields(self)))


DTYPES: tuple[type[Any], ...] = (
    *(np.int64, np.int64, np.int64, np.int64, np.int32, np.int32, np.int32, np.int32),
    *(np.int8, np.int8, np.bool_, np.int8, np.int8, np.int8, np.int8, np.int8, np.int64),
    *(np.int8, np.int8),
    *(np.int32, np.float64),
)


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
        return len(self.arrays.id)

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
        untied = np.zeros(len(self), dtype=bool)
        pairs = pairs_of(self.arrays.size)
        untied[np.repeat(np.arange(len(self)), pairs)[self.sign != 0]] = True
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
            sign=self.sign[np.repeat(mask, pairs_of(self.arrays.size))],
            absolute={name: entry for name, entry in self.absolute.items() if name in kept},
        )

    def in_order(self) -> "JudgmentColumns":
        """Return the judgments in the order in which they were submitted."""
        submitted = self.arrays.submitted
        if bool((submitted[1:] >= submitted[:-1]).all()):
            return self
        order = np.argsort(submitted, kind="stable")
        pairs = pairs_of(self.arrays.size)
        starts = np.cumsum(pairs) - pairs
        of_sign = np.repeat(starts[order], pairs[order]) + _within(pairs[order])
        return replace(self, arrays=self.arrays.where(order), sign=self.sign[of_sign])

    def table(self) -> VoteTable:
        """Return the votes that the judgments imply; those without a preference are left out."""
        return self._table(self.sign.astype(np.int64) + 1, 1)

    def shown_signs(self) -> NDArray[np.int8]:
        """Return for each sign 1 if the first of the pair was shown before the second, -1 if after.

        Where the order on screen was not recorded, it is 0.
        """
        arrays, pairs = self.arrays, pairs_of(self.arrays.size)
        first, second = _pair_positions(arrays.size, pairs)
        slots = np.repeat(arrays.slots, pairs)
        order = ((slots >> 4 * second) & 15) - ((slots >> 4 * first) & 15)
        known = np.repeat(arrays.shown_size >= arrays.size, pairs)
        return np.where(known, np.sign(order), 0).astype(np.int8)

    def strength_table(self) -> VoteTable | None:
        """Return the votes with their strengths; None unless every vote is a pick with one."""
        size, strength = self.arrays.size, self.arrays.strength
        votes = size > 0
        if not votes.any() or (size[votes] != 2).any():
            return None
        given = strength[votes].astype(np.int64)
        if ((given == 0) & (self.sign != 0)).any():
            return None
        reach = int(max(Strength))
        return self._table(reach + self.sign.astype(np.int64) * given, reach)

    def _table(self, code: Indices, reach: int) -> VoteTable:
        votes = self.is_preference
        arrays = self.arrays if votes.all() else self.arrays.where(votes)
        names, first, comparison = _numbered(arrays.comparison)
        size = arrays.size[first].astype(np.int64)
        units = size * (size - 1) // 2
        starts = np.cumsum(units) - units
        pairs = pairs_of(arrays.size)
        people, _, labeler = _numbered(arrays.labeler)
        return VoteTable(
            comparisons=tuple(names.tolist()),
            labelers=tuple(self.name_of(user_id) for user_id in people.tolist()),
            unit=np.repeat(starts[comparison], pairs) + _within(pairs),
            labeler=np.repeat(labeler, pairs),
            code=code,
            owner=np.repeat(np.arange(len(names)), units),
            cluster=_numbered(arrays.prompt[first])[2],
            values=np.arange(-reach, reach + 1, dtype=float),
            judgments=len(arrays.id),
            has_rankings=bool((size > 2).any()),
        )

    def name_of(self, user_id: int) -> str:
        """Return the pseudonym of a labeler."""
        return self.labelers.get(user_id) or f"former member {user_id}"


def pairs_of(size: NDArray[np.int8]) -> Indices:
    """Return the number of pairs of rankings of so many completions."""
    wide = size.astype(np.int64)
    return wide * (wide - 1) // 2


def _numbered(
    values: NDArray[np.int64],
) -> tuple[NDArray[np.int64], Indices, Indices]:
    """Number values from 0 by first appearance.

    Returns the distinct values, where each is first, and the number of every value.
    """
    distinct, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return distinct[order], first[order], rank[inverse]


def _pair_positions(size: NDArray[np.int8], pairs: Indices) -> tuple[Indices, Indices]:
    """Return the positions of both completions of each pair of rankings of these sizes."""
    first, second = np.zeros((2, int(pairs.sum())), dtype=np.int64)
    starts = np.cumsum(pairs) - pairs
    for each in np.unique(size[pairs > 0]).tolist():
        at = starts[size == each][:, None] + np.arange(each * (each - 1) // 2)
        first[at], second[at] = np.triu_indices(each, 1)
    return first, second


def _within(counts: Indices) -> Indices:
    """Count from 0 within each run of so many entries."""
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(starts, counts)
