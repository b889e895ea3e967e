"""The proof of the fault table: what it prints, what it finds, and a short form of its rows."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app.db import Database, schema
from app.domain.judgment_kinds import PickBody
from app.domain.states import JobState
from app.errors import Invalid
from app.models import Job, Project
from app.services.judging import labeling
from app.services.queue import slot_leases
from tests.conftest import unavailable
from tests.faults import workers
from tests.faults.proof import __main__ as proof
from tests.faults.proof import job_kills, labeling_load, own_servers, tested
from tests.faults.proof.labeling_load import Acknowledged, Missing
from tests.faults.proof.rows import NotMeasured, Outcome, Place, Row, Scale
from tests.faults.proof.table import ROWS
from tests.services import sample
from tests.services.queue import many_hands

REPORT = """<testsuites><testsuite>
<testcase name="test_a"><properties><property name="states" value="3"/></properties></testcase>
<testcase name="test_b"><properties><property name="states" value="4"/></properties></testcase>
<testcase name="test_c"><failure message="no"/></testcase>
<testcase name="test_d"><skipped message="no Chromium"/></testcase>
</testsuite></testsuites>"""


def _row(name: str, measure: Callable[[Place], Outcome], *, is_idle: bool = False) -> Row:
    return Row(name, f"what {name} is", "0", measure, is_idle)


def _absent(_place: Place) -> Outcome:
    raise NotMeasured("Redis is not installed")


def _failing(_place: Place) -> Outcome:
    raise RuntimeError("the server did not start")


HOLDS = _row("holds", lambda place: Outcome("0 lost", f"{place.scale.count(10, 500)} submits"))
MISSED = _row("missed", lambda _: Outcome("2 lost", "5 submits", "2 judgments too many"))
ABSENT, FAILED = _row("absent", _absent), _row("failed", _failing, is_idle=True)


@pytest.mark.parametrize("servers", [1, 2])
def test_rows_that_run_side_by_side_migrate_one_after_the_other(
    servers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_servers, "_program", str)
    made: list[str] = []

    def create(_server: object, _name: str, template: str = "template1") -> str:
        time.sleep(0.05)
        made.append(f"from {template}")
        return "the template"

    def migrate(_engine: object) -> None:
        made.append("migrating")
        time.sleep(0.05)
        made.append("migrated")

    monkeypatch.setattr(schema, "upgrade", migrate)
    monkeypatch.setattr(own_servers.OwnPostgres, "_create", create)
    monkeypatch.setattr(own_servers.OwnPostgres, "_execute", lambda _server, _statement: None)
    some = [own_servers.OwnPostgres() for _ in range(servers)]

    def use(postgres: own_servers.OwnPostgres) -> None:
        with postgres.database():
            pass

    with ThreadPoolExecutor(2) as threads:
        for used in [threads.submit(use, some[number % servers]) for number in range(2)]:
            used.result()
    # What is copied from the template may come in between.
    assert [what for what in made if "migrat" in what] == ["migrating", "migrated"] * servers


@pytest.mark.parametrize(
    ("act", "shared"),
    [("restart_after_crash()", "place.postgres"), ("redis.kill()", "place.redis")],
)
def test_rows_that_stop_a_server_stop_one_of_their_own(act: str, shared: str) -> None:
    sources = [path.read_text() for path in Path(own_servers.__file__).parent.glob("*.py")]
    stopping = [source for source in sources if f".{act}" in source or f" {act}" in source]
    assert stopping
    assert not [source for source in stopping if shared in source]


def test_every_row_is_printed_with_machine_commit_seed_and_scale(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "proof.json"
    rows = (HOLDS, MISSED, ABSENT, FAILED)
    assert proof.main(["--seed", "7", "--scale", "2", "--json", str(file)], rows) == 1
    said = capsys.readouterr().out
    assert all(part in said for part in (" cores", "commit ", "seed 7", "scale 2", "20 submits"))
    assert "✗ missed: what missed is (target: 0)" in said
    assert "MISSED BY 2 judgments too many" in said
    assert "– absent" in said
    assert "not measured: Redis is not installed" in said
    assert "FAILED after 0 s: RuntimeError: the server did not start" in said
    assert said.endswith("1 of 4 rows hold, 2 do not, 1 were not measured\n")
    report = json.loads(file.read_text())
    holds = {row["name"]: row["holds"] for row in report["rows"]}
    assert holds == {"holds": True, "missed": False, "absent": None, "failed": False}
    assert proof.main(["holds", "absent"], rows) == 0
    monkeypatch.setenv("ATTUNE_TEST_REQUIRE", "1")
    assert proof.main(["holds", "absent"], rows) == 1
    assert proof.main(["holds", "--long"], rows) == 0
    assert "500 submits" in capsys.readouterr().out


def test_a_wrong_row_or_scale_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        proof.main(["nothing"], (HOLDS,))
    assert "a row must be one of holds, not 'nothing'" in capsys.readouterr().err
    with pytest.raises(Invalid, match="the scale must be above 0, not -1"):
        proof.main(["--scale", "-1"], (HOLDS,))
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_outcomes_of_tests_are_counted() -> None:
    found = tested.read(REPORT)
    assert found.missed == "1 of 3 tests: test_c"
    assert found.skipped == ("no Chromium",)
    assert found.account == {"passed": 2, "failed": 1, "states": 7}
    assert not replace(found, failed=()).missed


def test_a_lost_judgment_is_found_in_rows_and_export(
    any_database: Database, tmp_path: Path
) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        (labeler_id,) = sample.make_labelers(session, project, 1)
        sample.make_comparison(session, project)
        assignment = slot_leases.claim(session, sample.SECRET, project, labeler_id)
        assert assignment is not None
        given = sample.submission(assignment, PickBody("b", 3))
        labeling.submit(session, session.get_one(Project, project.id), labeler_id, given)
        comparison, pseudonym = str(assignment.comparison_id), f"L{project.id}-0"
    url = any_database.engine.url.render_as_string(hide_password=False)
    ((labeler, key, preferred, strength),) = labeling_load.stored(url)
    there = Acknowledged(labeler, key, preferred, strength, is_surplus=False)
    assert (key, preferred, strength) == (given.key, "b", 3)
    vote = {"labeler": pseudonym, "ranking": [2, 1], "strength": 3}
    export = tmp_path / "export.jsonl"
    export.write_text(json.dumps({"comparison": comparison, "individual_preference": [vote]}))
    gone = replace(there, key="key-of-a-lost-judgment")
    other = replace(there, preferred="a")
    assert labeling_load.missing(url, export, [there]) == Missing(0, 0)
    assert labeling_load.missing(url, export, [there, gone, other]) == Missing(2, 2)
    export.write_text("")
    assert labeling_load.missing(url, export, [there]) == Missing(0, 1)
    surplus = replace(there, is_surplus=True)
    assert labeling_load.missing(url, export, [surplus]) == Missing(0, 0)


def test_a_job_without_its_result_is_found(database: Database) -> None:
    job_ids = [workers.enqueue(database, "quick") for _ in range(2)]
    account = job_kills.account_of(database, [*job_ids, 99])
    assert account.lost == [
        "job 1 (quick) queued after 0: ",
        "job 2 (quick) queued after 0: ",
        "job 99 is not there",
    ]
    with database.transaction() as session:
        for job_id in job_ids:
            job = session.get_one(Job, job_id)
            job.state, job.deaths = JobState.SUCCEEDED, 0
        job.state, job.deaths = JobState.QUARANTINED, 3
    account = job_kills.account_of(database, job_ids)
    assert account.lost == ["job 1 (quick) succeeded without a result"]
    assert (account.twice, account.apart) == (0, 1)


def test_a_queue_with_another_number_of_judgments_is_found(database: Database) -> None:
    with database.transaction() as session:
        project = sample.make_project(session)
        sample.make_comparison(session, project)
    with database.reader() as session:
        faults = many_hands.faults(session, project.id, judged=0, comparisons=1, overlap=3)
    assert "active judgments: 0, not 3" in faults


def _measure(name: str, folder: Path, scale: float) -> Outcome:
    (row,) = [row for row in ROWS if row.name == name]
    try:
        with Place(folder, Scale(factor=scale)) as place:
            return row.measure(place)
    except NotMeasured as error:
        unavailable(str(error))
        raise


@pytest.mark.services
def test_no_judgment_is_lost_when_the_web_side_and_the_database_are_killed(tmp_path: Path) -> None:
    outcome = _measure("lost", tmp_path, 0.06)
    assert outcome.missed == ""
    assert int(outcome.figures["acknowledged"]) >= 120
    assert (outcome.figures["web_kills"], outcome.figures["database_stops"]) == (1, 1)


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.parametrize("name", ["twice", "too-many", "jobs", "partition", "broker"])
def test_a_row_holds_in_short(tmp_path: Path, name: str) -> None:
    assert _measure(name, tmp_path, 0.35).missed == ""
