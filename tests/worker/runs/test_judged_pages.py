"""Judged comparisons are read page by page, and nobody waits for it."""

import pytest

from app.db import Database, scan
from app.models import Split
from app.services.datasets import preferences
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import ExportOptions
from tests.services import sqlite_costs
from tests.services.sample_votes import make_comparison, make_project, vote
from worker.runs import judged_pages

COMPARISONS = 7


@pytest.mark.parametrize("splits", [tuple(Split), (Split.TEST,)])
def test_nobody_waits_for_an_export_between_its_statements(
    database: Database, monkeypatch: pytest.MonkeyPatch, splits: tuple[Split, ...]
) -> None:
    monkeypatch.setattr(preferences, "FIRST_PAGE", 2)
    monkeypatch.setattr(scan, "SQLITE_COUNTED", 3)
    with database.transaction() as session:
        project, people = make_project(session)
        for _ in range(COMPARISONS):
            comparison = make_comparison(session, project)
            for person in people[:2]:
                vote(session, comparison, person, preferred="a")
    account, options = Account(), ExportOptions(splits=splits)
    with sqlite_costs.others_committing(database) as commits:
        rows = list(
            judged_pages.stream(database, project.id, "trl-explicit-text", options, account)
        )
    assert not commits.held
    assert len(commits.statements) > 6
    assert account.counts.comparisons.considered == COMPARISONS
    in_splits = {row.prompt.split for row in rows}
    assert in_splits <= set(splits)
