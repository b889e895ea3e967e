"""A scoring as a table for spreadsheets."""

import csv
import io
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import ScoredRow, Scoring


def lines(session: Session, scoring: Scoring) -> Iterator[str]:
    """Yield a scoring as CSV: a line per prompt and side."""
    names = [side["name"] for side in scoring.sides]
    yield _line(["row", "subset", "prompt", "side", "response", "score"])
    query = select(ScoredRow).where(ScoredRow.scoring_id == scoring.id).order_by(ScoredRow.place)
    for row in session.scalars(query.execution_options(yield_per=500)):
        earlier = row.earlier or [[]] * len(names)
        for name, turns, text, score in zip(names, earlier, row.texts, row.scores, strict=True):
            if text is not None:
                prompt = "\n\n".join(str(turn["content"]) for turn in [*row.messages, *turns])
                shown = "" if score is None else repr(float(score))
                texts = [_safe(cell) for cell in (row.subset, prompt, name, str(text))]
                yield _line([str(row.place + 1), *texts, shown])


def _line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()


def _safe(cell: str) -> str:
    """Return a cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
