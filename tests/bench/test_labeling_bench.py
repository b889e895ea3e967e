"""A small labeling bench: a real server, real figures, and errors that name what is wrong."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from app.bench import load
from app.bench.durability import StoredCounts, check
from app.bench.seed import seed
from app.cli.main import app
from app.db import Database
from app.errors import Invalid


@pytest.mark.services
def test_a_short_run_gives_every_figure(postgres_server: str, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ["bench", "labeling", "--json", str(file), "--sizes", "200", "--labelers", "2"]
    more = ["--seconds", "1", "--warm", "0.5", "--database-url", f"{postgres_server}/postgres"]
    with ThreadPoolExecutor(1) as thread:  # a browser's event loop may run in this one
        run = thread.submit(CliRunner().invoke, app, [*arguments, *more], catch_exceptions=False)
    assert run.result().exit_code == 0
    figures = json.loads(file.read_text())
    assert figures["c2.n200.cycles_per_s"] > 1
    for name in ("next_p50_ms", "next_p95_ms", "submit_p50_ms", "submit_p95_ms"):
        assert figures[f"c2.n200.{name}"] > 0


@pytest.mark.services
def test_statistics_are_collected_of_tables_that_have_rows(postgres_url: str) -> None:
    database = Database(postgres_url)
    seed(database, 10, 1)
    counted = text("SELECT relname FROM pg_stat_user_tables WHERE last_analyze IS NOT NULL")
    with database.engine.connect() as connection:
        tables = set(connection.scalars(counted))
    assert {"comparison", "slot", "membership"} <= tables
    assert not {"assignment", "judgment", "demonstration"} & tables
    database.dispose()


def test_an_acknowledgement_without_its_row_or_its_flush_is_refused() -> None:
    before = StoredCounts(judgments=10, flushes=100)
    check(before, StoredCounts(judgments=18, flushes=104), acknowledged=8, at_once=2)
    with pytest.raises(Invalid, match="of 8 acknowledged submissions, 7 are stored"):
        check(before, StoredCounts(judgments=17, flushes=104), acknowledged=8, at_once=2)
    with pytest.raises(Invalid, match="caused only 3 log"):
        check(before, StoredCounts(judgments=18, flushes=103), acknowledged=8, at_once=2)


def test_a_pace_is_kept_by_all_labelers_together() -> None:
    first, second = (load._turns(number, 2, 10.0) for number in range(2))
    moments = sorted([*islice(first, 3), *islice(second, 3)])
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    assert gaps == pytest.approx([0.1] * 5, abs=0.05)
    answer = CliRunner().invoke(app, ["bench", "labeling", "--pace", "0"])
    assert "--pace must be above 0, not 0" in str(answer.exception)


def test_sqlite_is_refused() -> None:
    answer = CliRunner().invoke(app, ["bench", "labeling", "--database-url", "sqlite:///x"])
    assert "needs PostgreSQL" in str(answer.exception)


def test_sqlite_has_one_web_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path))
    answer = CliRunner().invoke(app, ["serve", "--port", "0", "--workers", "2"])
    assert "one web process" in str(answer.exception)
