"""An import keeps its transactions short where there is one writer."""

import io
import json
import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.db import Database, bulk
from app.models import Project, Prompt
from app.services.datasets import import_pace, imported_records, imports, labelers_at_work
from app.services.datasets.import_pace import ImportPace, is_time_to_analyze
from app.services.datasets.imported_records import PreparedBatch
from app.services.queue import slot_leases
from tests.services import sample


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Provide clocks that are set by hand, and pauses that pass at once."""
    times = {"monotonic": 0.0, "thread_time": 0.0, "slept": 0.0}

    def sleep(seconds: float) -> None:
        times["slept"] += seconds

    clocks = SimpleNamespace(
        monotonic=lambda: times["monotonic"],
        thread_time=lambda: times["thread_time"],
        sleep=sleep,
    )
    monkeypatch.setattr(import_pace, "time", clocks)
    monkeypatch.setattr(labelers_at_work, "time", clocks)
    return times


def stored(pace: ImportPace, session: Session, clock: dict[str, float], seconds: float) -> int:
    pace.start(session)
    clock["monotonic"] += seconds
    clock["thread_time"] += seconds
    pace.stored(session)
    pace.give_way(session, pace.rows)
    pace.wait()
    return pace.rows


def test_a_batch_takes_as_long_as_others_may_wait(
    session: Session, clock: dict[str, float]
) -> None:
    pace = ImportPace(3000)
    rows = [stored(pace, session, clock, pace.rows * 0.0001) for _ in range(6)]
    assert rows == pytest.approx([200, 400, 800, 1600, 2000, 2000], abs=1)
    assert stored(pace, session, clock, 6.0) == 100
    assert clock["slept"] > 0.25 * 5 * 0.01


def test_reading_the_next_rows_counts_as_part_of_the_pause(
    session: Session, clock: dict[str, float]
) -> None:
    pace = ImportPace(1000)
    stored(pace, session, clock, 0.02)
    assert clock["slept"] == pytest.approx(0.005)
    pace.start(session)
    clock["monotonic"] += 0.02
    pace.give_way(session, pace.rows)
    clock["monotonic"] += 0.002  # reading
    pace.wait()
    assert clock["slept"] == pytest.approx(0.005 + 0.003)


def test_a_slow_disk_does_not_make_batches_tiny(session: Session, clock: dict[str, float]) -> None:
    pace = ImportPace(1000)
    pace.start(session)
    clock["monotonic"] += 2.0
    clock["thread_time"] += 0.001
    pace.give_way(session, pace.rows)
    assert pace.rows == 200


def test_batches_are_short_while_people_label_all_the_time(
    database: Database, clock: dict[str, float]
) -> None:
    pace, others = ImportPace(3000), Database(str(database.engine.url))
    with database.transaction() as session:
        project_id = sample.make_project(session).id
        labelers = sample.make_labelers(session, session.get_one(Project, project_id), 40)

    def claim(labeler_id: int) -> None:
        with others.transaction() as session:
            project = session.get_one(Project, project_id)
            sample.read_guidelines(session, project, labeler_id)
            sample.make_comparison(session, project)
            assert slot_leases.claim(session, sample.SECRET, project, labeler_id)

    def rename(name: str) -> None:  # as somebody does who does not wait for a comparison
        with others.transaction() as session:
            session.execute(update(Project).values(name=name))

    def store_batches(number: int, *, people_label: bool, waited_s: float = 0.0) -> list[int]:
        rows = []
        for _ in range(number):
            clock["monotonic"] += waited_s
            with database.transaction() as session:
                rows.append(stored(pace, session, clock, pace.rows * 0.0001))
            if people_label:
                claim(labelers.pop())
            rename(f"Desk {clock['monotonic']}")
        return rows

    assert store_batches(4, people_label=False) == pytest.approx([200, 400, 800, 1600], abs=1)
    assert store_batches(1, people_label=True)[0] > 1900, "nobody had asked for work lately"
    assert store_batches(1, people_label=False) == [50], "somebody has come"
    assert store_batches(6, people_label=False)[-1] in (799, 800), "and has not asked again"
    assert not pace.rests
    assert store_batches(1, people_label=True)[-1] in (799, 800)
    assert store_batches(1, people_label=False)[-1] in (799, 800), "once is nothing"
    assert store_batches(5, people_label=True)[-1] in (49, 50)
    assert pace.rests
    slept = clock["slept"]
    store_batches(1, people_label=True)
    assert clock["slept"] - slept == pytest.approx(20 * 0.005, rel=0.05)
    assert store_batches(2, people_label=True, waited_s=0.2)[-1] in (79, 80), "a 25th of it"
    assert store_batches(3, people_label=True, waited_s=9.0)[-1] in (249, 250), "but no more"
    assert store_batches(9, people_label=False)[-1] in (799, 800)
    clock["monotonic"] += labelers_at_work.LATELY_S
    assert store_batches(2, people_label=False)[-1] in (1999, 2000)
    others.dispose()


def test_imported_judgments_are_not_taken_for_labelers(
    database: Database, clock: dict[str, float]
) -> None:
    pace = ImportPace(1000)
    with database.transaction() as session:
        project_id = sample.make_project(session).id
        labelers = sample.make_labelers(session, session.get_one(Project, project_id), 9)
    for labeler_id in labelers:
        with database.transaction() as session:
            pace.start(session)
            project = session.get_one(Project, project_id)
            sample.read_guidelines(session, project, labeler_id)
            sample.make_comparison(session, project)
            assert slot_leases.claim(session, sample.SECRET, project, labeler_id)
            clock["thread_time"] += pace.rows * 0.0001
            pace.stored(session)
            pace.give_way(session, pace.rows)
    assert pace.rows > 700


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "x" * 60},
        {"prompt": "x", "remark": "x" * 60},
        {"prompt": "x", "response": "x" * 60},
        {"prompt": "x", "chosen": "x" * 60, "rejected": "y"},
        {"prompt": ["x" * 60]},  # rejected
    ],
)
def test_a_batch_of_long_rows_ends_sooner(
    database: Database, monkeypatch: pytest.MonkeyPatch, row: dict[str, object]
) -> None:
    monkeypatch.setattr(imports, "BATCH_CHARACTERS", 100)
    seen: list[int] = []
    prepare = imported_records.prepare

    def noted(batch: list[imported_records.Outcome], source: str) -> PreparedBatch:
        seen.append(len(batch))
        return prepare(batch, source)

    monkeypatch.setattr(imported_records, "prepare", noted)
    with database.transaction() as session:
        project_id = sample.make_project(session).id
    file = io.BytesIO((json.dumps(row) + "\n").encode() * 5)
    imports.run_in_batches(database.transaction, project_id, file, filename="f.jsonl")
    assert seen[-3:] == [2, 2, 1]  # after a look at the first rows


@pytest.mark.services
def test_a_server_stores_more_of_what_is_quickly_stored(
    postgres_url: str, clock: dict[str, float]
) -> None:
    database, pace = Database(postgres_url), ImportPace(3000)
    rows = []
    for seconds_per_row in (1e-3, 1e-4, 5e-5, 1e-5, 1.0):
        with database.reader() as session:
            rows.append(stored(pace, session, clock, pace.rows * seconds_per_row))
    assert rows == pytest.approx([1000, 1500, 3000, 3000, 1000], abs=1)
    database.dispose()


@pytest.mark.services
def test_few_other_writers_of_a_server_need_no_pauses(
    postgres_url: str, clock: dict[str, float]
) -> None:
    database, pace = Database(postgres_url), ImportPace(1000)
    for _ in range(3):
        with database.reader() as session:
            assert stored(pace, session, clock, 6.0) == 1000
    assert clock["slept"] == 0
    database.dispose()


@pytest.mark.services
def test_an_import_rests_while_others_keep_a_server_busy(
    postgres_url: str, clock: dict[str, float]
) -> None:
    database, pace = Database(postgres_url), ImportPace(1000)
    commits = text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")

    def store_and_count(*, seconds: float) -> float:
        before = clock["slept"]
        with database.reader() as session:
            stored(pace, session, clock, seconds)
        return clock["slept"] - before

    def committed() -> int:
        with database.reader() as session:
            return session.scalar(commits) or 0

    assert store_and_count(seconds=2.0) == 0
    before, others = committed(), Database(postgres_url)
    for _ in range(300):
        with others.transaction() as session:
            session.execute(text("SELECT 1"))
    others.dispose()  # a connection that ends has its transactions counted
    until = time.monotonic() + 20
    while committed() < before + 200 and time.monotonic() < until:
        time.sleep(0.05)
    assert not pace.rests
    assert store_and_count(seconds=1.0) == pytest.approx(2.0), "twice as long as it took"
    assert pace.rests
    assert store_and_count(seconds=3.0) == pytest.approx(6.0), "too soon to look again"
    assert store_and_count(seconds=3.0) == 0, "nobody is there any more"
    assert not pace.rests
    database.dispose()


def test_statistics_are_renewed_at_ten_thousand_rows_and_each_doubling() -> None:
    totals = range(0, 100_001, 1000)
    renewed = [b for a, b in pairwise(totals) if is_time_to_analyze(a, b)]
    assert renewed == [10_000, 20_000, 40_000, 80_000]


def test_a_long_import_renews_them(any_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_pace, "_ROWS_UNTIL_ANALYZED", 200)
    renewed: list[int] = []

    def analyze(session: Session, *tables: object) -> None:
        assert len(tables) == 8
        renewed.append(session.scalar(select(func.count(Prompt.id))) or 0)
        whole_analyze(session, *tables)  # type: ignore[arg-type]

    whole_analyze = bulk.analyze
    monkeypatch.setattr(bulk, "analyze", analyze)
    monkeypatch.setattr(imports, "BATCH", 100)
    with any_database.transaction() as session:
        project_id = sample.make_project(session).id
    file = io.BytesIO(b"".join(b'{"prompt": "Question %d?"}\n' % n for n in range(500)))
    imports.run_in_batches(any_database.transaction, project_id, file, filename="f.jsonl")
    assert renewed == [200, 400]


def test_others_write_while_a_file_is_imported(database: Database) -> None:
    with database.transaction() as session:
        project_id = sample.make_project(session).id
    waited_s: list[float] = []
    done = threading.Event()

    def claim() -> None:
        while not done.is_set():
            started = time.monotonic()
            with database.transaction():
                waited_s.append(time.monotonic() - started)
            time.sleep(0.01)

    other = threading.Thread(target=claim)
    other.start()
    file = io.BytesIO(b"".join(b'{"prompt": "Question %d?"}\n' % n for n in range(4000)))
    imports.run_in_batches(database.transaction, project_id, file, filename="f.jsonl")
    done.set()
    other.join()
    assert len(waited_s) > 5
    assert max(waited_s) < 5  # far less by itself; other tests may keep the processor busy
