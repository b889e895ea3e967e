"""Judged comparisons of a project page by page, each page in a short session of its own."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.db import Database
from app.services.datasets import export_options, preferences
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import ExportOptions, JudgedComparison

PageEnd = Callable[[int, int, float], bool]
"""Is told the last id of a page, how many comparisons it had and what they took in seconds, their
rows included; returns whether to stop there."""


@dataclass(frozen=True, slots=True)
class Ids:
    """A range of comparisons: those after one id, up to and with another if one is given."""

    after: int = 0
    until: int | None = None


def stream(
    database: Database,
    project_id: int,
    format: str,
    options: ExportOptions,
    account: Account,
    *,
    ids: Ids | None = None,
    page_end: PageEnd = lambda _after, _count, _seconds: False,
) -> Iterator[JudgedComparison]:
    """Yield the comparisons that the options ask for; those of a range count nothing outside it."""
    if ids is None:
        with database.reader() as session:
            preferences.count_outside(session, project_id, options, account.counts)
    after: int | None = 0 if ids is None else ids.after
    until = None if ids is None else ids.until
    details = export_options.details(format)
    limit = preferences.FIRST_PAGE
    while after is not None:
        began, before = time.monotonic(), account.counts.comparisons.considered
        with database.reader() as session:
            page = preferences.read_page(
                *(session, project_id, options, account.counts),
                after=after,
                until=until,
                limit=limit,
                details=details,
            )
        count = account.counts.comparisons.considered - before
        limit = preferences.next_limit(page)
        yield from page.rows
        after = page.after
        if after is not None and page_end(after, count, time.monotonic() - began):
            return
