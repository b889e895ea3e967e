"""An export reads short pages with rests beside labelers, where a reader keeps writers waiting."""

from types import SimpleNamespace

import pytest

from app.db import Database
from app.services.datasets import preferences, read_pace
from app.services.datasets.read_pace import BESIDE_LABELERS, ReadPace
from app.services.queue import slot_leases
from tests.services import sample


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Provide the rests that were asked for; a page takes 0.01 seconds by the clock."""
    rests: list[float] = []
    ticks = iter(number * 0.01 for number in range(1000))
    clock = SimpleNamespace(monotonic=lambda: next(ticks), sleep=rests.append)
    monkeypatch.setattr(read_pace, "time", clock)
    return rests


def test_pages_are_short_only_while_people_label_on_sqlite(
    any_database: Database, slept: list[float]
) -> None:
    is_sqlite = any_database.engine.dialect.name == "sqlite"
    with any_database.transaction() as session:
        project = sample.make_project(session)
        labelers = sample.make_labelers(session, project, 8)
    pace = ReadPace()

    def claim() -> None:
        with any_database.transaction() as session:
            found = session.merge(project)
            sample.make_comparison(session, found)
            labeler_id = labelers.pop()
            sample.read_guidelines(session, found, labeler_id)
            assert slot_leases.claim(session, sample.SECRET, found, labeler_id)

    def read_pages(number: int, *, people_label: bool) -> int:
        for _ in range(number):
            if people_label:
                claim()
            pace.rest()
            with any_database.long_reader() as session:
                pace.start(session)
            pace.end()
        return pace.most

    alone = preferences.SQLITE_PAGE if is_sqlite else preferences.PAGE
    assert read_pages(2, people_label=False) == alone
    beside = BESIDE_LABELERS if is_sqlite else alone
    assert read_pages(1, people_label=True) == beside, "somebody has come"
    assert read_pages(5, people_label=False) == alone, "and has not asked again"
    assert read_pages(1, people_label=True) == alone, "once is nothing"
    assert read_pages(4, people_label=True) == beside
    assert slept == pytest.approx([0.06] * len(slept))
    assert bool(slept) == pace.rests == is_sqlite
    assert read_pages(6, people_label=False) == alone
