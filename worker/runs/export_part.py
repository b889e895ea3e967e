"""A part of an export: a folder with the lines of a range of comparisons, and their account."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from app.db import Database
from app.services.datasets import export_accounts, export_rows
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.datasets.read_pace import ReadPace
from worker.runs import judged_pages
from worker.runs.judged_pages import Ids, PageEnd

_LINES: Final = "lines.jsonl"
_ACCOUNT: Final = "account.json"


def write(
    database: Database,
    folder: Path,
    part: Mapping[str, Any],
    *,
    pace: ReadPace | None = None,
    page_end: PageEnd = lambda _after, _count, _seconds: False,
) -> int:
    """Write a part into a folder, and return how many lines it has.

    `part` names the project, the format and the options of the export, and the range of ids.
    """
    options, account = ExportOptions.from_json(part["options"]), Account()
    comparisons = judged_pages.stream(
        *(database, part["project_id"], part["format"], options, account),
        ids=Ids(part["after"], part["until"]),
        pace=pace,
        page_end=page_end,
    )
    folder.mkdir(exist_ok=True)
    with (folder / _LINES).open("wb") as file:
        file.writelines(export_rows.write(comparisons, part["format"], options, account))
    (folder / _ACCOUNT).write_text(json.dumps(export_accounts.to_json(account)), "utf-8")
    return account.tally.written


def lines(folder: Path, account: Account) -> Iterator[bytes]:
    """Yield the lines of a part, and add what it has seen to the account of the export."""
    export_accounts.add(account, json.loads((folder / _ACCOUNT).read_text("utf-8")))
    with (folder / _LINES).open("rb") as file:
        yield from account.tally.counted(file)
