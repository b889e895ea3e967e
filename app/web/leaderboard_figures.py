"""The leaderboard as a file for spreadsheets."""

import csv
import io
from dataclasses import fields

from app.domain.leaderboard import Leaderboard
from app.formats import tables
from app.services.quality import leaderboard_rows
from app.services.quality.leaderboard_rows import LeaderboardRow


def csv_text(board: Leaderboard, reference: str) -> str:
    """Return a line for each source; figures that are not defined are empty, with a reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    names = [field.name for field in fields(LeaderboardRow)]
    writer.writerow(names)
    for row in leaderboard_rows.of_board(board, reference):
        writer.writerow([_cell(getattr(row, name)) for name in names])
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return tables.guarded(value) if isinstance(value, str) else repr(value)
