"""The page of a training run: other runs over it, all points, alarms, and who may see it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import delete, select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.states import JobState, RoundState
from app.models import Job, Metric, Role, User
from app.services.jobs import training_curves
from app.services.people import accounts
from app.web import run_charts
from tests.services import sample
from tests.services.rounds import trained
from tests.web import charted

HTML = {"accept": "text/html"}


@dataclass
class Runs:
    """A lead, and the policy jobs of two rounds of the lead's project."""

    lead: TestClient
    database: Database
    jobs: list[int]

    def get(self, path: str, status: int = 200) -> str:
        """Return a page below the project's rounds."""
        answer = self.lead.get(f"/p/desk/rounds/{path}", headers=HTML)
        assert answer.status_code == status, answer.text
        return answer.text

    def charts(self, path: str) -> dict[str, Any]:
        """Return what the charts of a page draw, by title."""
        return charted.of_page(self.get(path))

    def rows(self, path: str) -> list[dict[str, str]]:
        """Return the rows of a file."""
        return charted.rows(self.get(path))


@pytest.fixture
def runs(sign_in: Callable[..., TestClient], database: Database) -> Runs:
    lead = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = sample.make_project(session, slug="desk", name="Desk")
        accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=None)
        jobs = [job.id for job in trained.two_rounds(session, project, steps=30)]
    return Runs(lead, database, jobs)


def test_other_runs_are_drawn_over_one_and_the_file_has_the_same_lines(runs: Runs) -> None:
    first, second = runs.jobs
    alone = runs.charts(f"runs/{second}")["KL to SFT"]
    assert [(line["run"], line["color"], line["dashed"]) for line in alone["lines"]] == [
        ("", 1, False),
        ("", 2, True),
    ]
    both = runs.charts(f"runs/{second}?over={first}")["KL to SFT"]
    assert [(line["run"], line["color"], line["dashed"]) for line in both["lines"]] == [
        ("Round 2", 1, False),
        ("Round 2", 1, True),
        ("Round 1", 2, False),
        ("Round 1", 2, True),
    ]
    charted.assert_same(both, runs.get(f"runs/{second}/points.csv?chart=kl%2Fk1&over={first}"))
    page = runs.get(f"runs/{second}?over={first}")
    assert f'value="{first}" checked' in page
    assert f"points.csv?chart=kl%2Fk1&amp;over={first}" in page, "the file keeps the choice"


def test_a_long_run_is_thinned_out_on_pages_but_not_in_the_file_or_the_table(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_curves, "MOST_POINTS", 6)  # 30 steps: every fifth
    (path,) = (f"runs/{runs.jobs[0]}",)
    page = runs.get(path)
    assert "One of 5 points is drawn" in page
    drawn = runs.charts(path)["Reward"]
    assert len(drawn["lines"][0]["x"]) < 30
    rows = runs.rows(f"{drawn['whole'].removeprefix('/p/desk/rounds/')}")
    assert [int(row["step"]) for row in rows if row["line"] == "training"] == list(range(1, 31))
    table = runs.get(f"{path}?chart=reward%2Fnormalised")
    assert "All 30 points" in table
    assert table.count("<tr>") == 31
    assert "points is drawn" not in table


def test_an_alarm_is_marked_with_its_reason_on_the_chart_that_it_is_about(runs: Runs) -> None:
    first, second = runs.jobs
    charts = runs.charts(f"runs/{second}")
    marked = {title: [e for e in one["events"] if e["alarm"]] for title, one in charts.items()}
    alarm = {"x": 30.0, "label": "alarm", "why": trained.ALARM, "alarm": True}
    assert marked["KL to SFT"] == [alarm]
    assert not any(events for title, events in marked.items() if title != "KL to SFT")
    assert f"Step 30: {trained.ALARM}." in " ".join(runs.get(f"runs/{second}").split())
    assert "Alarm" not in runs.get(f"runs/{first}")
    kept = [event["x"] for event in charts["Reward"]["events"]]
    assert kept == [10.0]


def test_a_round_with_two_runs_of_a_kind_names_them_apart(runs: Runs) -> None:
    with runs.database.transaction() as session:
        job = session.get_one(Job, runs.jobs[0])
        round_ = job.round_id
        assert round_ is not None
        again = Job(
            project_id=job.project_id, round_id=round_, kind="policy", queue="gpu", payload={},
            state=JobState.RUNNING, created_at=job.created_at, started_at=job.started_at,
        )  # fmt: skip
        session.add(again)
        session.flush()
        session.add(Metric(job_id=again.id, name="kl/k1", step=1, value=0.5))
    page = runs.get(f"runs/{again.id}")
    assert f"round 1, job {again.id}" in page
    assert f"Round 1, job {runs.jobs[0]}" in page
    assert f"/p/desk/rounds/runs/{again.id}/live" in page, "it is at work, so the page refreshes"
    assert "/live" not in runs.get(f"runs/{runs.jobs[1]}")
    assert "/live" in runs.get(f"runs/{runs.jobs[1]}?over={again.id}")
    live = runs.get(f"runs/{again.id}/live")
    assert "<html" not in live
    assert "data-chart" in live


def test_more_runs_than_colors_are_counted_and_left_out(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_charts, "MOST_OTHERS", 0)
    first, second = runs.jobs
    page = runs.get(f"runs/{second}?over={first}")
    assert "1 more is left out" in " ".join(page.split())
    assert not any(
        line["run"] for line in runs.charts(f"runs/{second}?over={first}")["Reward"]["lines"]
    )


def test_what_is_no_run_of_the_project_is_not_found(runs: Runs) -> None:
    first, second = runs.jobs
    with runs.database.transaction() as session:
        own = session.get_one(Job, first)
        assert own.project_id is not None
        generate = Job(
            project_id=own.project_id, round_id=own.round_id, kind="generate", queue="gpu",
            payload={}, created_at=own.created_at, started_at=own.started_at,
        )  # fmt: skip
        other = sample.make_project(session, slug="other", name="Other")
        theirs = trained.add_job(
            session, trained.add_round(session, other, 1, state=RoundState.HELD), "policy", {}
        )
        reward = session.scalars(select(Job).where(Job.kind == "reward")).first()
        session.add(generate)
        session.flush()
    assert reward is not None
    for id_ in (generate.id, theirs.id, 999_999):
        runs.get(f"runs/{id_}", 404)
        runs.get(f"runs/{second}?over={id_}", 404)
    runs.get(f"runs/{second}?over={reward.id}", 404)
    runs.get(f"runs/{second}?chart=unheard", 404)
    runs.get(f"runs/{second}?chart=kl%2Fk1&page=2", 404)
    runs.get(f"runs/{second}/points.csv?chart=unheard", 404)
    runs.get(f"runs/{second}/points.csv", 404)


def test_the_round_leads_to_its_runs(runs: Runs) -> None:
    page = runs.get("2")
    assert f'href="/p/desk/rounds/runs/{runs.jobs[1]}"' in page
    assert {"Reward", "KL to SFT", "Loss", "Accuracy"} <= set(runs.charts("2"))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (JobState.RUNNING, "the first step is running"),
        (JobState.FAILED, "the job ended before its first step"),
    ],
)
def test_a_run_without_metrics_says_why(runs: Runs, state: JobState, reason: str) -> None:
    job_id = runs.jobs[1]
    with runs.database.transaction() as session:
        session.execute(delete(Metric).where(Metric.job_id == job_id))
        session.get_one(Job, job_id).state = state
    for page in (runs.get("2"), runs.get(f"runs/{job_id}")):
        said = re.findall("No metrics[^<]*", page)
        assert [reason in sentence for sentence in said] == [True]
