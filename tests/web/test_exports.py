"""Exports on the page and through the API: options, defaults and counts."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.states import JobState
from app.models import Export, Job, User
from app.services.datasets import export_options, exports
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.project import projects

OF_RICH = {
    *("rounds", "purposes", "splits", "include_adjudicated", "categories", "tags", "instruction"),
    "container",
}
SignIn = Callable[..., TestClient]
COUNTS: dict[str, Any] = {
    "comparisons": {"considered": 9, "exported": 7, "excluded": {"tied": 2}},
    "judgments": {"considered": 20, "exported": 18, "excluded": {"retracted": 2}},
    "settled": 3,
}


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    browser = sign_in("lead")
    with database.transaction() as session:
        projects.create(session, name="Desk", owner=session.scalars(select(User)).one())
    return browser


def html(browser: TestClient, path: str) -> str:
    answer = browser.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.text)


def options_of(database: Database, number: int) -> dict[str, Any]:
    with database.reader() as session:
        return session.scalars(select(Export).where(Export.number == number)).one().options


def test_the_page_and_the_api_have_the_same_defaults(lead: TestClient, database: Database) -> None:
    assert lead.post("/p/desk/exports", data={}).status_code == 303
    assert lead.post("/api/v1/projects/desk/exports", json={}).status_code == 202
    assert (
        options_of(database, 1)
        == options_of(database, 2)
        == export_options.stored("trl-implicit", ExportOptions())
    )
    page = html(lead, "/p/desk/exports")
    assert re.search(r'name="include_adjudicated" value="1" checked', page)
    assert re.search(r'value="majority" selected', page)


def test_what_is_unticked_on_the_page_is_left_out(lead: TestClient, database: Database) -> None:
    assert lead.post("/p/desk/exports", data={"include_adjudicated": "0"}).status_code == 303
    assert options_of(database, 1)["include_adjudicated"] is False
    both = {"include_adjudicated": ["0", "1"]}
    assert lead.post("/p/desk/exports", data=both).status_code == 303
    assert options_of(database, 2)["include_adjudicated"] is True


def test_an_option_that_does_not_apply_is_refused_on_page_and_api(lead: TestClient) -> None:
    form = {"format": "rich", "min_agreement_percent": "60"}
    refused = lead.post("/p/desk/exports", data=form)
    assert refused.status_code == 422
    body = {"format": "rich", "options": {"min_agreement": 0.6}}
    answer = lead.post("/api/v1/projects/desk/exports", json=body)
    assert answer.status_code == 422
    assert "min_agreement (Minimum agreement) does not apply to it" in answer.text
    assert "Minimum agreement does not apply to it" in refused.text
    assert "min_agreement (" not in refused.text  # the key is of use to scripts only
    assert lead.post("/p/desk/exports", data={"rounds": "1, two"}).status_code == 422
    assert lead.get("/api/v1/projects/desk/exports").json() == []


def test_an_export_states_only_the_options_it_applies(lead: TestClient, database: Database) -> None:
    made = lead.post("/api/v1/projects/desk/exports", json={"format": "rich"}).json()
    assert made["options"].keys() == OF_RICH
    finished(database, {"counts": COUNTS})
    assert "Include settled comparisons" in html(lead, "/p/desk/exports/1")
    assert "Minimum agreement" not in html(lead, "/p/desk/exports/1")


def finished(database: Database, manifest: dict[str, Any]) -> None:
    with database.transaction() as session:
        export = session.scalars(select(Export)).one()
        export.state, export.manifest, export.rows = "ready", manifest, 7
        export.ready_at = export.created_at


def test_the_counts_are_on_the_page_and_in_the_api(lead: TestClient, database: Database) -> None:
    lead.post("/api/v1/projects/desk/exports", json={})
    finished(database, {"counts": COUNTS})
    page = html(lead, "/p/desk/exports/1")
    row = '<th scope="row">Comparisons</th> <td class="n">9</td> <td class="n">7</td>'
    assert row in page
    for part in ("Tied", "Retracted", "3 of the exported comparisons follow a settlement"):
        assert part in page
    shown = lead.get("/api/v1/projects/desk/exports/1").json()["counts"]
    assert shown == {name: COUNTS[name] for name in ("comparisons", "judgments")}


def test_exports_written_before_keep_their_counts(lead: TestClient, database: Database) -> None:
    lead.post("/api/v1/projects/desk/exports", json={})
    old = {"comparisons": 4, "judgments": 9, "comparisons_out": {"withdrawn": 1}}
    finished(database, {"counts": {**old, "judgments_out": {}}})
    assert lead.get("/api/v1/projects/desk/exports/1").json()["counts"] == {
        "comparisons": {"considered": 5, "exported": 4, "excluded": {"withdrawn": 1}},
        "judgments": {"considered": 9, "exported": 9, "excluded": {}},
    }
    assert "Withdrawn" in html(lead, "/p/desk/exports/1")


def test_the_page_offers_the_categories_and_tags_there_are(
    lead: TestClient, database: Database
) -> None:
    assert 'name="category"' not in html(lead, "/p/desk/exports")
    file = b'{"prompt": "Add", "category": "math, easy", "tags": "x, y"}\n'
    lead.post("/p/desk/prompts", files={"file": ("q.jsonl", file)})
    page = html(lead, "/p/desk/exports")
    assert "<option >math, easy</option>" in page
    form = {"category": ["math, easy", "(none)"], "tag": ["y"]}
    assert lead.post("/p/desk/exports", data=form).status_code == 303
    options = options_of(database, 1)
    assert (options["categories"], options["tags"]) == (["math, easy", "(none)"], ["y"])


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        (JobState.FAILED, "Traceback\nInvalid: nothing to export\n", "Invalid: nothing to export"),
        (JobState.CANCELLED, "", exports.CANCELLED),
        (JobState.QUARANTINED, " ", exports.UNSAID),
    ],
)
def test_an_export_that_failed_says_so_everywhere(
    lead: TestClient, database: Database, state: JobState, error: str, said: str
) -> None:
    lead.post("/p/desk/exports", data={})
    with database.transaction() as session:
        job = session.scalars(select(Job)).one()
        job.state, job.error = state, error
    assert said[1:] in html(lead, "/p/desk/exports")  # a sentence begins with a capital there
    page = html(lead, "/p/desk/exports/1")
    assert "The export failed" in page
    assert said[1:] in page
    assert f"/p/desk/jobs/{job.id}" in page
    shown = lead.get("/api/v1/projects/desk/exports/1").json()
    assert (shown["state"], said in shown["error"]) == ("failed", True)
    download = lead.get("/api/v1/projects/desk/exports/1/download")
    assert download.status_code == 409
    assert f"export 1 failed, so it has no file: {said}" in download.json()["detail"]


def test_the_page_of_an_export_follows_its_job(lead: TestClient, database: Database) -> None:
    lead.post("/p/desk/exports", data={})
    assert 'data-refresh="/p/desk/exports/1/live"' in html(lead, "/p/desk/exports/1")
    live = html(lead, "/p/desk/exports/1/live")
    assert "Waiting for a worker" in live
    assert "data-done" not in live
    with database.transaction() as session:
        job = session.scalars(select(Job)).one()
        job.state, job.progress_done, job.progress_note = JobState.RUNNING, 2000, "2,000 rows"
    assert "2,000 rows so far" in html(lead, "/p/desk/exports/1/live")
    with database.transaction() as session:
        session.scalars(select(Job)).one().state = JobState.SUCCEEDED
    finished(database, {"counts": COUNTS})
    live = html(lead, "/p/desk/exports/1/live")
    assert "data-done" in live
    assert "/p/desk/exports/1/download" in live
    assert "data-refresh" not in html(lead, "/p/desk/exports/1")


def test_options_are_worded_as_the_form_words_them(lead: TestClient, database: Database) -> None:
    lead.post("/p/desk/exports", data={"min_agreement_percent": "60", "purpose": ["train", "gold"]})
    with database.transaction() as session:
        export = session.scalars(select(Export)).one()
        export.state, export.manifest = exports.READY, {"counts": COUNTS}
    page = html(lead, "/p/desk/exports/1")
    for title, value in (
        ("Minimum agreement", "60 %"),
        ("Purposes", "training data, gold"),
        ("Several votes on a pair", "one row per pair, by majority vote"),
    ):
        assert f"<dt>{title}</dt> <dd>{value}</dd>" in page
