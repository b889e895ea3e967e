"""Pages and API of scores: the form, refusals, figures, worst cases, CSV and who may see them."""

import csv
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import Database, now
from app.domain.states import JobState
from app.models import Checkpoint, Project, Role, ScoredRow, Scoring, Split, User
from app.services.people import accounts
from app.services.project import projects, prompts
from app.services.project.prompts import NewPrompt
from app.services.rounds import scorings
from tests.web import charted

SignIn = Callable[..., TestClient]
HTML = {"accept": "text/html"}
API = "/api/v1/projects/desk/scores"
PATTERN = {"kind": "format", "pattern": "bad"}
FOLLOWED = [{"role": "assistant", "content": "<i>First"}, {"role": "user", "content": "More?"}]
PAIRS = "".join(
    f"{json.dumps(row)}\n"
    for row in (
        {"prompt": "one", "chosen": "a", "rejected": "b", "subset": "chat"},
        {"prompt": "two", "chosen": "a", "rejected": "b", "subset": "safety"},
    )
).encode()


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a browser of the lead of a project with two models and three test prompts."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.query(User).one()
        project = projects.create(session, name="Desk", owner=user)
        for name, kind in (("Base", "base"), ("Policy 1", "policy"), ("Reward 1", "reward")):
            session.add(
                Checkpoint(
                    project_id=project.id,
                    kind=kind,
                    name=name,
                    uri=name,
                    state="ready",
                    created_at=now(session),
                )
            )
        found = [NewPrompt((("user", f"Question <b>{n}</b>"),)) for n in range(3)]
        for prompt in prompts.add(session, project, found).prompts:
            prompt.split = Split.TEST
    return browser


def score(lead: TestClient, database: Database) -> int:
    """Create scores by API, and put the job's work in its place."""
    answer = lead.post(API, json={"scorer": PATTERN, "models": [1, 2], "threshold": 0.5})
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    assert made["remarks"] == ["100 prompts were wanted; there are 3"]
    with database.transaction() as session:
        scoring = session.get_one(Scoring, made["id"])
        scoring.finished_at = now(session)
        for row in session.query(ScoredRow).filter_by(scoring_id=scoring.id):
            row.texts = ["bad words", "=good"]
            row.scores = [1.0, 0.25 * row.place]
            row.earlier = [[], FOLLOWED] if row.place == 2 else []
        job = scorings.job_of(session, scoring)
        assert job is not None
        job.state = JobState.SUCCEEDED
    return int(made["id"])


def test_the_form_starts_a_job_and_shows_its_progress(lead: TestClient) -> None:
    empty = lead.get("/p/desk/scores", headers=HTML).text
    assert "No scores yet" in empty
    assert "Reward 1" not in empty.partition("New scores")[2].partition("fieldset")[2]
    form = {"kind": "format", "pattern": "bad", "models": ["1", "2"], "responses": "models"}
    answer = lead.post("/p/desk/scores", data=form, headers=HTML)
    assert answer.status_code == 303, answer.text
    shown = lead.get(answer.headers["location"], headers=HTML).text
    assert "queued" in shown
    words = " ".join(shown.split())
    assert "Waiting for a worker: no running worker takes jobs from the GPU queue." in words
    assert "once the first of the 3 prompts are scored" in words
    assert "nothing was scored" not in words, "no figures of nothing"
    assert "no prompt in common" not in words
    assert "Worst cases" not in words
    assert 'data-refresh="/p/desk/scores/1/live"' in shown
    assert "pattern bad" in lead.get("/p/desk/scores", headers=HTML).text


@pytest.mark.parametrize(
    ("changes", "scored", "words"),
    [
        (
            {"state": "running", "progress_done": 2, "progress_total": 3},
            0,
            ["2 of 3 prompts scored", "once the first of the 3 prompts"],
        ),
        ({"state": "running"}, 0, ["A worker is loading the models and the scorer."]),
        ({"state": "running"}, 1, ["cover the 2 responses scored so far, of 6", "Worst cases"]),
        (
            {"state": "failed", "error": "no label toxic"},
            1,
            ["no label toxic", "retry the job on its page; the 2 scores", "before the job ended"],
        ),
        ({"state": "failed"}, 0, ["The job ended without a message", "the 0 scores"]),
        ({"state": "quarantined", "deaths": 3}, 0, ["crashed 3 times"]),
        ({"state": "cancelled"}, 0, ["The job was cancelled. 0 scores are kept"]),
        ({"state": "queued", "error": "hub away"}, 0, ["Waiting for a worker"]),
    ],
)
def test_a_scoring_says_how_far_it_is_and_what_helps(
    lead: TestClient, database: Database, changes: dict[str, Any], scored: int, words: list[str]
) -> None:
    number = lead.post(API, json={"scorer": PATTERN, "models": [1, 2]}).json()["id"]
    with database.transaction() as session:
        scoring = session.get_one(Scoring, number)
        job = scorings.job_of(session, scoring)
        assert job is not None
        for name, value in ({"progress_note": "prompts scored"} | changes).items():
            setattr(job, name, value)
        rows = session.query(ScoredRow).filter_by(scoring_id=number).order_by(ScoredRow.place)
        for row in rows.limit(scored):
            row.texts, row.scores = ["a", "b"], [1.0, 0.0]
    page = " ".join(lead.get(f"/p/desk/scores/{number}", headers=HTML).text.split())
    for expected in words:
        assert expected in page
    assert ("Change from Base" in page) is bool(scored)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"kind": "format", "pattern": "("}, "is not a regular expression"),
        ({"kind": "classifier", "source": "x", "label": "y"}, "1 to 8 models"),
        ({"kind": "classifier"}, "needs a model: a folder or a hub name"),
        ({"kind": "format", "pattern": "a", "models": "3"}, "Reward 1 is a reward model"),
        ({"kind": "format", "pattern": "a", "models": "1", "threshold": "nan"}, "finite number"),
        ({"kind": "format", "pattern": "a", "responses": "file"}, "a file"),
        ({"kind": "format", "pattern": "a", "models": "1", "group": "evaluation"}, "no prompts"),
        ({"kind": "judge", "source": "http://h/v1", "models": "1"}, "judge reward needs a model"),
        ({"kind": "reward_model", "source": "Reward 7", "models": "1"}, "you may use Reward 1"),
    ],
)
def test_what_cannot_be_scored_is_refused_beside_the_form(
    lead: TestClient, form: dict[str, Any], message: str
) -> None:
    answer = lead.post("/p/desk/scores", data=form, headers=HTML)
    assert answer.status_code == 422
    assert message in answer.text
    assert "New scores" in answer.text
    assert lead.get(API).json() == []


def test_figures_and_worst_cases_are_shown_and_downloaded(
    lead: TestClient, database: Database
) -> None:
    number = score(lead, database)
    page = lead.get(f"/p/desk/scores/{number}", headers=HTML).text
    assert "Change from Base" in page
    assert "&lt;b&gt;" in page, "prompts are escaped"
    assert "100 prompts were wanted" in page
    assert page.index("&lt;i&gt;First") < page.index("More?") < page.index("=good")
    drawing = charted.of_page(page)["Distribution of scores"]
    assert [sum(line["y"]) for line in drawing["lines"]] == [3, 3]
    charted.assert_same(drawing, lead.get(f"/p/desk/scores/{number}/distribution.csv").text)
    figures = lead.get(f"{API}/{number}").json()["figures"]
    assert [side["mean"] for side in figures["sides"]] == [1.0, 0.25]
    assert figures["sides"][1]["change"]["value"] == -0.75
    assert figures["sides"][1]["share_over_threshold"]["value"] == 0.0
    worst = lead.get(f"{API}/{number}/cases", params={"side": 1, "count": 2}).json()
    assert worst["found"] == 3
    assert [case["scores"][1] for case in worst["cases"]] == [0.5, 0.25]
    assert [case["earlier"] for case in worst["cases"]] == [[[], FOLLOWED], []]
    assert lead.get(f"{API}/{number}/cases", params={"side": 2}).status_code == 422
    table = lead.get(f"/p/desk/scores/{number}/csv")
    assert table.headers["content-disposition"].endswith('"desk-scores-1.csv"')
    rows = list(csv.reader(table.text.splitlines(keepends=True)))
    assert len(rows) == 1 + 6
    assert [row[2].endswith("More?") for row in rows[1:]] == [False] * 5 + [True]
    assert ",'=good,0.25" in table.text, "no cell is a formula"
    assert lead.get(f"{API}/{number}/csv").text == table.text


def test_judged_pairs_are_uploaded_by_form_and_api(lead: TestClient) -> None:
    upload = {"file": ("bench.jsonl", PAIRS)}
    form = {"kind": "format", "pattern": "a", "responses": "file"}
    answer = lead.post("/p/desk/scores", data=form, files=upload, headers=HTML)
    assert answer.status_code == 303, answer.text
    made = lead.post(f"{API}/files", data={"scorer": json.dumps(PATTERN)}, files=upload)
    assert made.status_code == 202, made.text
    assert made.json()["is_judged"] is True
    assert made.json()["sides"] == ["chosen", "rejected"]
    length = json.dumps({"kind": "length", "longest": 3})
    refused = lead.post(f"{API}/files", data={"scorer": length}, files=upload)
    assert refused.status_code == 422
    assert "counts tokens" in refused.json()["detail"]


def test_scores_are_deleted_when_their_job_is_over(lead: TestClient, database: Database) -> None:
    queued = lead.post(API, json={"scorer": PATTERN, "models": [1]}).json()["id"]
    assert lead.delete(f"{API}/{queued}").status_code == 409
    number = score(lead, database)
    assert lead.post(f"/p/desk/scores/{number}/remove").status_code == 303
    assert lead.get(f"/p/desk/scores/{number}", headers=HTML).status_code == 404
    with database.reader() as session:
        assert session.query(ScoredRow).filter_by(scoring_id=number).count() == 0


def test_labelers_and_strangers_see_no_scores(
    lead: TestClient, sign_in: SignIn, database: Database
) -> None:
    number = score(lead, database)
    stranger, labeler = sign_in("stranger"), sign_in("labeler")
    with database.transaction() as session:
        project = session.query(Project).one()
        user = session.query(User).filter(User.email.startswith("labeler")).one()
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
    for address in (
        "",
        f"/{number}",
        f"/{number}/csv",
        f"/{number}/live",
        f"/{number}/distribution.csv",
    ):
        assert stranger.get(f"/p/desk/scores{address}", headers=HTML).status_code == 404
        assert labeler.get(f"/p/desk/scores{address}", headers=HTML).status_code == 403
