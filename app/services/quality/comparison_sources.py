"""Which source wrote each response of a project's comparisons, and how long it is.

A source is a checkpoint, a model behind a server, or what an imported file names as the writer of a
response. Completions never change, so in a process that asks again and again only the new
comparisons are read.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.scan import scan
from app.domain.krippendorff import Numbers, narrowed
from app.models import Comparison, ComparisonCompletion, Completion, Purpose
from app.services.quality.brief_cache import cached_briefly
from app.services.quality.kept_figures import RECENT, SMALL
from app.services.quality.result_memory import ResultMemory, key_of

PURPOSES = (Purpose.TRAIN, Purpose.EVALUATION)
"""The purposes of comparisons whose votes rank sources; see `leaderboard`."""
CHUNK = 5_000
NO_SOURCE = "unknown source"
IMPORTED = 0  # the checkpoint of a response that no checkpoint wrote

SourceKey = tuple[int, str]
"""The id of the checkpoint, or `IMPORTED`, and the name of the source."""


@dataclass(frozen=True, slots=True)
class ComparisonSources:
    """One entry per response, by comparison id and then by canonical position.

    `source` numbers the `keys`, `length` is in characters.
    """

    comparison: Numbers
    source: Numbers
    length: Numbers
    keys: tuple[SourceKey, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each source, all of them different."""
        counts = Counter(name for _, name in self.keys)
        return tuple(
            name if counts[name] == 1 else f"{name} ({_where(checkpoint_id)})"
            for checkpoint_id, name in self.keys
        )

    def places(self, comparison: Numbers) -> NDArray[np.int64]:
        """Return where the first response of each comparison is; -1 of those that are unknown."""
        if not len(self.comparison):
            return np.full(len(comparison), -1)
        at = np.searchsorted(self.comparison, comparison)
        at = np.minimum(at, len(self.comparison) - 1)
        return np.where(self.comparison[at] == comparison, at, -1)


_known: ResultMemory[int] = ResultMemory(most=4)


def read(session: Session, project_id: int) -> ComparisonSources:
    """Return the sources of every comparison for training or evaluation."""
    key = key_of(session, "sources", project_id)
    entry = _known.get(key)
    old: ComparisonSources | None = entry[1] if entry is not None else None
    since = 0 if old is None or not len(old.comparison) else int(old.comparison[-1]) - RECENT
    found = _read_after(session, project_id, since, () if old is None else old.keys)
    if old is not None:
        kept = old.comparison <= since
        found = ComparisonSources(
            np.concatenate([old.comparison[kept], found.comparison]),
            np.concatenate([old.source[kept], found.source]),
            np.concatenate([old.length[kept], found.length]),
            found.keys,
        )
    if len(found.comparison) > SMALL:
        _known.put(key, len(found.comparison), found)
    return found


@cached_briefly
def count(session: Session, project_id: int) -> int:
    """Count the sources of every comparison for training or evaluation."""
    some = (
        select(Completion.checkpoint_id, Completion.source)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .join(Comparison, Comparison.id == ComparisonCompletion.comparison_id)
        .where(Comparison.project_id == project_id, Comparison.purpose.in_(PURPOSES))
        .distinct()
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(some)) or 0


def _read_after(
    session: Session, project_id: int, after: int, known: Sequence[SourceKey]
) -> ComparisonSources:
    numbers = {key: at for at, key in enumerate(known)}
    query = (
        select(
            Comparison.id,
            func.coalesce(Completion.checkpoint_id, IMPORTED),
            Completion.source,
            func.length(Completion.text),
        )
        .join(ComparisonCompletion, ComparisonCompletion.comparison_id == Comparison.id)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(Comparison.project_id == project_id, Comparison.purpose.in_(PURPOSES))
        .order_by(Comparison.id, ComparisonCompletion.position)
    )
    columns: list[list[Numbers]] = [[narrowed(np.zeros(0, dtype=np.int64))] for _ in range(3)]
    for chunk in scan(session, query, Comparison.id, size=CHUNK, after=after):
        rows = [
            (row[0], numbers.setdefault((row[1], row[2]), len(numbers)), row[3]) for row in chunk
        ]
        for column, values in zip(columns, np.array(rows, dtype=np.int64).T, strict=True):
            column.append(narrowed(values.copy()))
    comparison, source, length = map(np.concatenate, columns)
    keys = tuple((checkpoint_id, name or NO_SOURCE) for checkpoint_id, name in numbers)
    return ComparisonSources(comparison, source, length, keys)


def _where(checkpoint_id: int) -> str:
    return f"model {checkpoint_id}" if checkpoint_id else "imported"
