"""Which of two completions is the longer one, for every comparison of a project.

Completions never change, so in a process that asks again and again only the new comparisons are
read.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from app.db.scan import scan
from app.models import Comparison, ComparisonCompletion, Completion
from app.services.quality.kept_figures import RECENT, SMALL
from app.services.quality.result_memory import ResultMemory, key_of

CHUNK = 50_000


@dataclass(frozen=True, slots=True)
class LongerCompletions:
    """By comparison id, ascending: 1 if the first of two is longer, -1 if the second is, else 0."""

    comparison: NDArray[np.int64]
    sign: NDArray[np.int8]

    def of(self, comparison: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return the signs of comparisons; 0 of those that are not known."""
        if not len(self.comparison):
            return np.zeros(len(comparison), dtype=np.int8)
        at = np.minimum(np.searchsorted(self.comparison, comparison), len(self.comparison) - 1)
        return np.where(self.comparison[at] == comparison, self.sign[at], 0).astype(np.int8)


_known: ResultMemory[int] = ResultMemory(most=4)


def read(session: Session, project_id: int) -> LongerCompletions:
    """Return the longer completions of every comparison's first two."""
    key = key_of(session, "longer", project_id)
    entry = _known.get(key)
    old: LongerCompletions | None = entry[1] if entry is not None else None
    since = 0 if old is None or not len(old.comparison) else int(old.comparison[-1]) - RECENT
    found = _read_after(session, project_id, since)
    if old is not None:
        kept = old.comparison <= since
        found = LongerCompletions(
            np.concatenate([old.comparison[kept], found.comparison]),
            np.concatenate([old.sign[kept], found.sign]),
        )
    if len(found.comparison) > SMALL:
        _known.put(key, len(found.comparison), found)
    return found


def _read_after(session: Session, project_id: int, after: int) -> LongerCompletions:
    members = [aliased(ComparisonCompletion) for _ in range(2)]
    texts = [aliased(Completion) for _ in range(2)]
    query = select(Comparison.id, *(func.length(completion.text) for completion in texts))
    for position, (member, completion) in enumerate(zip(members, texts, strict=True)):
        query = query.join(
            member, (member.comparison_id == Comparison.id) & (member.position == position)
        ).join(completion, completion.id == member.completion_id)
    query = query.where(Comparison.project_id == project_id).order_by(Comparison.id)
    names = [np.zeros(0, dtype=np.int64)]
    signs = [np.zeros(0, dtype=np.int8)]
    for chunk in scan(session, query, Comparison.id, size=CHUNK, after=after):
        table = np.array([tuple(row) for row in chunk], dtype=np.int64)
        names.append(table[:, 0])
        signs.append(np.sign(table[:, 1] - table[:, 2]).astype(np.int8))
    return LongerCompletions(np.concatenate(names), np.concatenate(signs))
