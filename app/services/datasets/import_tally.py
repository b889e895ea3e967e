"""What became of the rows of a file so far: counted, and named by line where they need a look."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Base
from app.models import Comparison, Completion, Demonstration, Judgment, Prompt

REJECTS_KEPT = 1000
RAW_KEPT = 2000
LINES_KEPT = 10
REMARKS_KEPT = 100
MORE_REMARKS = f"There is more to say about this file; only {REMARKS_KEPT} remarks are kept."

TABLES: Final[dict[str, type[Base]]] = {
    "prompts": Prompt,
    "demonstrations": Demonstration,
    "completions": Completion,
    "comparisons": Comparison,
    "judgments": Judgment,
}
"""The tables an import adds to, by what their rows are called in its result."""


@dataclass(slots=True)
class Duplicates:
    """Rows of one kind that were there already, in the project or earlier in the file."""

    kind: str
    where: Literal["project", "file"]
    count: int = 0
    lines: list[int] = field(default_factory=list)  # the first ones

    def to_json(self) -> dict[str, Any]:
        """Return the duplicates as plain JSON values."""
        return {"kind": self.kind, "where": self.where, "count": self.count, "lines": self.lines}


@dataclass(slots=True)
class ImportTally:
    """What became of the rows of a file so far; `rows` says how many have been seen.

    `last_ids` are the largest ids before the import, by kind: rows above them are its own.
    """

    counts: Counter[str] = field(default_factory=Counter)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    last_ids: dict[str, int] = field(default_factory=dict)
    duplicates: dict[tuple[str, str], Duplicates] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def reject(self, line: int, reason: str, raw: bytes = b"") -> None:
        """Report a line that was not imported."""
        self.counts["rejected"] += 1
        if len(self.rejects) < REJECTS_KEPT:
            shown = (
                raw[:RAW_KEPT].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
            )
            self.rejects.append({"line": line, "reason": reason, "raw": shown})

    def repeat(self, kind: str, line: int, row_id: int, *, is_new: bool = False) -> None:
        """Report a line that adds nothing, because the row with this id says the same.

        `is_new` is true for a row of the same batch.
        """
        is_own = is_new or row_id > self.last_ids.get(kind, 0)
        where: Literal["project", "file"] = "file" if is_own else "project"
        known = self.duplicates.setdefault((kind, where), Duplicates(kind, where))
        known.count += 1
        if len(known.lines) < LINES_KEPT and line not in known.lines:
            known.lines.append(line)

    def remark(self, text: str) -> None:
        """Report what a person should know about the import; the same remark is kept once."""
        if not text or text in self.remarks:
            return
        if len(self.remarks) < REMARKS_KEPT:
            self.remarks.append(text)
        elif self.remarks[-1] != MORE_REMARKS:
            self.remarks.append(MORE_REMARKS)

    def duplicates_json(self) -> list[dict[str, Any]]:
        """Return the duplicates as plain JSON values, in the order of the tables."""
        kinds = list(TABLES)
        ordered = sorted(self.duplicates.values(), key=lambda d: (kinds.index(d.kind), d.where))
        return [duplicates.to_json() for duplicates in ordered]


def duplicates_of(stored: Iterable[dict[str, Any]]) -> dict[tuple[str, str], Duplicates]:
    """Read the duplicates that an earlier attempt has reported."""
    read = (Duplicates(**(each | {"lines": list(each["lines"])})) for each in stored)
    return {(duplicates.kind, duplicates.where): duplicates for duplicates in read}


def last_ids(session: Session) -> dict[str, int]:
    """Return the largest id of each table."""
    return {
        kind: session.scalar(select(func.coalesce(func.max(model.__table__.c.id), 0))) or 0
        for kind, model in TABLES.items()
    }
