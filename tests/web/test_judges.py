"""The pages and the API of AI judges: adding, asking, what they show, and who may do it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judged_by import JudgedBy
from app.domain.judges.servers import AllowedServer
from app.domain.judgment_kinds import JudgmentBody, JudgmentKind, RateBody, ThumbsBody
from app.domain.plan import RoundPlan
from app.models import AuditEvent, Completion, Evaluation, Job, Judge, Project, User
from app.services.judging import judges
from app.services.people import accounts
from app.services.project import criteria, projects
from app.services.rounds import judge_jobs
from app.settings import Settings
from app.web.launch_form import LaunchForm
from tests import judge_server
from tests.conftest import PASSWORD, quick_app
from tests.judge_server import JudgeServer
from tests.services import sample
from tests.worker.runs import judged

HTML = {"accept": "text/html"}


@pytest.fixture
def served() -> Iterator[JudgeServer]:
    with judge_server.serving() as server:
        yield server


@pytest.fixture
def lead(database: Database, sqlite_url: str, tmp_path: Path, served: JudgeServer) -> TestClient:
    """Sign in the lead of the project desk, on a deployment that allows the server."""
    settings = Settings(
        data_dir=tmp_path / "data", database_url=sqlite_url, secret_key="x" * 40,
        judge_servers=f"{served.url}=TINY_KEY",
    )  # fmt: skip
    with database.transaction() as session:
        user = accounts.create_user(
            session, email="lead@example.org", name="Lead", password=PASSWORD
        )
        projects.create(session, name="Desk", owner=user, judgment_kind=JudgmentKind.PICK)
    browser = TestClient(
        quick_app(settings, database), base_url="http://127.0.0.1", follow_redirects=False
    )
    browser.post("/sign-in", data={"email": "lead@example.org", "password": PASSWORD})
    page = browser.get("/account", headers=HTML).text
    browser.headers["x-csrf-token"] = page.split('csrf-token" content="')[1].split('"')[0]
    return browser


def add(lead: TestClient, url: str, **fields: str) -> str:
    form = {"name": "Strict", "server": url, "model": "tiny", "price_in": "1", "price_out": "10"}
    answer = lead.post("/p/desk/labelers/judges", data=form | fields)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def project_of(session: object) -> Project:
    return projects.by_slug(session, "desk")  # type: ignore[arg-type]


def test_without_servers_the_page_says_who_can_help(
    sign_in: Callable[..., TestClient], database: Database
) -> None:
    browser = sign_in("lead")
    with database.transaction() as session:
        projects.create(session, name="Desk", owner=session.scalars(select(User)).one())
    text = browser.get("/p/desk/labelers/judges", headers=HTML).text
    assert "ATTUNE_JUDGE_SERVERS" in text
    assert "Add judge" not in text


def test_a_judge_is_added_tried_compared_and_shown(
    lead: TestClient, database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    page = lead.get("/p/desk/labelers/judges", headers=HTML).text
    assert f"{served.url} (key in TINY_KEY)" in re.sub(r"\s+", " ", page)
    address = add(lead, served.url, notes="Prefer <b>short</b> ones.")
    with database.transaction() as session:
        project = project_of(session)
        (comparison, *_) = judged.make_comparisons(session, project, 3)
        labelers = sample.make_labelers(session, project, 2)
        judged.judge_by_people(session, project, labelers, 6)
        comparison_id = comparison.id
    assert lead.post(f"{address}/try", data={"comparison": str(comparison_id)}).status_code == 303
    judged.run(database, tmp_path, AllowedServer(served.url))
    text = lead.get(address, headers=HTML).text
    assert "By taste." in text
    assert "The request as it was sent" in text
    assert text.count("Which response is better by the guidelines?") == 2, "as sent, and as shown"
    assert "Prefer &lt;b&gt;short&lt;/b&gt; ones." in text
    assert lead.post(f"{address}/compare", data={"count": "3"}).status_code == 303
    judged.run(database, tmp_path, AllowedServer(served.url))
    text = " ".join(lead.get(address, headers=HTML).text.split())
    assert "3 with people’s judgments" in text
    assert "tokens in" in text
    assert "compared with people on 3 of the 30" in text
    assert not re.findall(r">\s*(None|nan)\s*<", text)
    listed = lead.get("/p/desk/labelers/judges", headers=HTML).text
    assert "after a comparison" in listed
    one = lead.get(f"/p/desk/comparisons/{comparison_id}", headers=HTML).text
    assert "Kept apart from the judgments of people" in one
    assert "By taste." in one


@pytest.mark.parametrize(
    ("kind", "body", "figure", "verdict", "asked"),
    [
        (
            JudgmentKind.RATE,
            RateBody({"quality": (4, 2)}),
            "Agreement on ratings",
            "quality 4 · 2",
            "on a scale from 1 (lowest) to 5 (highest)",
        ),
        (
            JudgmentKind.THUMBS,
            ThumbsBody("down"),
            "Agreement on thumbs",
            "Bad",
            "“down” first",
        ),
    ],
)
def test_ratings_and_thumbs_are_shown_in_their_own_words(
    lead: TestClient,
    database: Database,
    tmp_path: Path,
    served: JudgeServer,
    kind: JudgmentKind,
    body: JudgmentBody,
    figure: str,
    verdict: str,
    asked: str,
) -> None:
    with database.transaction() as session:
        project = project_of(session)
        project.judgment_kind, project.k = kind, 2 if kind == JudgmentKind.RATE else 1
        criteria.ensure(session, project)
        (comparison, _) = made = judged.make_comparisons(session, project, 2)
        served.taste = judged.by_position(session, made, (4.0, 2.0))
        labelers = sample.make_labelers(session, project, 2)
        assert judged.judge_by_people(session, project, labelers, 4, body) >= 2
        comparison_id = comparison.id
    address = add(lead, served.url)
    fresh = " ".join(lead.get(address, headers=HTML).text.split())
    assert asked in fresh
    assert "is shown here once it has been compared" in fresh
    assert lead.post(f"{address}/try", data={"comparison": str(comparison_id)}).status_code == 303
    judged.run(database, tmp_path, AllowedServer(served.url))
    lead.post(f"{address}/compare", data={"count": "2"})
    judged.run(database, tmp_path, AllowedServer(served.url))
    text = " ".join(lead.get(address, headers=HTML).text.split())
    assert figure in text
    assert text.count(verdict) >= 3, "of the trial and of both judgments"
    assert "asked in reverse" in text
    assert "Agrees with people" not in text
    assert "compared with people on 2 of the 30 comparisons to" in text
    assert not re.findall(r">\s*(None|nan)\s*<", text)
    one = " ".join(lead.get(f"/p/desk/comparisons/{comparison_id}", headers=HTML).text.split())
    assert verdict in one
    listed = " ".join(lead.get("/p/desk/labelers/judges", headers=HTML).text.split())
    assert "Both replies agree" in listed
    found = lead.get("/api/v1/projects/desk/judges/1").json()["measures"]["single"]
    measured = found["thumbs"] if kind == JudgmentKind.THUMBS else found["criteria"][0][1]
    assert measured["with_people"]["identical"]["value"] == 1.0
    (row, _) = lead.get("/api/v1/projects/desk/judges/1/judgments").json()
    given = {"quality": [4, 2]} if kind == JudgmentKind.RATE else None
    assert (row["ratings"], row["thumb"]) == (given, None if given else "down")


def test_labeling_alone_needs_a_comparison_or_a_recorded_reason(
    lead: TestClient, database: Database, served: JudgeServer
) -> None:
    address = add(lead, served.url)
    with database.transaction() as session:
        judged.make_comparisons(session, project_of(session), 2)
    refused = lead.post(f"{address}/label", data={"count": "2"}, headers=HTML)
    assert refused.status_code == 422
    assert "before it judges alone" in refused.text
    assert lead.post(f"{address}/alone", data={"reason": ""}, headers=HTML).status_code == 422
    assert lead.post(f"{address}/alone", data={"reason": "a pilot"}).status_code == 303
    assert "a pilot" in lead.get(address, headers=HTML).text
    assert lead.post(f"{address}/label", data={"count": "2"}).status_code == 303
    with database.reader() as session:
        (job,) = session.scalars(select(Job)).all()
        actions = [event.action for event in session.scalars(select(AuditEvent))]
    assert (job.kind, job.queue, len(job.payload["comparison_ids"])) == ("judge", "cpu", 2)
    assert actions[-3:] == ["judge.create", "judge.let_alone", "judge.ask"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"server": "http://127.0.0.1:9/v1"}, "is not among those that AI judges may use"),
        ({"budget": "-1"}, "Budget must be"),
        ({"currency": "euro"}, "three capital letters"),
        ({"name": "  "}, "name must have 1 to 60"),
    ],
)
def test_a_form_that_breaks_a_rule_is_refused_and_keeps_what_was_typed(
    lead: TestClient, served: JudgeServer, fields: dict[str, str], message: str
) -> None:
    form = {"name": "Strict", "server": served.url, "model": "tiny-9", "price_in": "1"}
    form |= {"price_out": "2"} | fields
    answer = lead.post("/p/desk/labelers/judges", data=form, headers=HTML)
    assert answer.status_code == 422
    assert message in answer.text
    assert 'value="tiny-9"' in answer.text


def test_an_evaluation_says_that_a_judge_decided_it(
    lead: TestClient, database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    add(lead, served.url)
    with database.transaction() as session:
        evaluation = judged.make_evaluation(session, project_of(session), 3)
        evaluation.results = {
            "arbiter": "Reward 1",
            "scores": {str(id): 0.0 for id in _completion_ids(session, evaluation)},
        }
        judges.let_alone(session, session.get_one(Judge, 1), "a test", actor_id=None)
        evaluation_id = evaluation.id
    address = f"/p/desk/evaluations/{evaluation_id}"
    form = {"judge_id": "1", "decides": "1"}
    assert lead.post(f"{address}/judge", data=form).status_code == 303
    again = lead.post(f"{address}/judge", data=form, headers=HTML)
    assert again.status_code in (303, 422)
    judged.run(database, tmp_path, AllowedServer(served.url))
    text = " ".join(lead.get(address, headers=HTML).text.split())
    assert "is decided by the AI judge Strict (J1), not by people" in text
    assert "AI judge Strict (J1) preferred the new policy" in text
    assert "By taste." in text
    assert "by AI judge Strict (J1)" in lead.get("/p/desk/evaluations", headers=HTML).text
    found = lead.get(f"/api/v1{address.replace('/p/', '/projects/')}").json()
    assert found["results"]["decided_by"] == "Strict (J1)"


def test_the_api_does_what_the_pages_do(
    lead: TestClient, database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    base = "/api/v1/projects/desk/judges"
    body = {
        "name": "Strict",
        "server": served.url,
        "model": "tiny",
        "limits": {"price_in": 1, "price_out": 2},
    }
    made = lead.post(base, json=body)
    assert made.status_code == 201, made.text
    assert made.json()["pseudonym"] == "J1"
    assert lead.post(base, json=body).status_code == 409
    with database.transaction() as session:
        project = project_of(session)
        judged.make_comparisons(session, project, 2)
        judged.judge_by_people(session, project, sample.make_labelers(session, project, 2), 4)
    one = f"{base}/{made.json()['id']}"
    assert lead.post(f"{one}/label", json={"count": 2}).status_code == 409
    assert lead.post(f"{one}/compare", json={"count": 2}).status_code == 202
    judged.run(database, tmp_path, AllowedServer(served.url))
    found = lead.get(one).json()
    assert found["measures"]["compared"] == 2
    assert found["totals"]["cost"] > 0
    rows = lead.get(f"{one}/judgments").json()
    assert {row["outcome"] for row in rows} == {"judged"}
    assert rows[0]["orders"][0]["explanation"] == "By taste."
    changed = lead.put(f"{one}/limits", json={"requests_per_minute": 60})
    assert changed.json()["limits"]["requests_per_minute"] == 60
    assert lead.post(f"{one}/alone", json={"reason": "a pilot"}).json()["why_not_alone"] == ""
    assert lead.get(base).json()[0]["alone_reason"] == "a pilot"


def test_a_plan_names_its_judges_and_is_checked(
    lead: TestClient, database: Database, served: JudgeServer
) -> None:
    add(lead, served.url)
    form = LaunchForm(judge="J1", judged_by=JudgedBy.AI, evaluation_judge="J1")
    plan = form.plan(RoundPlan())
    assert (plan.judge, plan.reward.judged_by, plan.evaluation.judge) == ("J1", JudgedBy.AI, "J1")
    assert LaunchForm.of(plan).evaluation_judge == "J1"
    assert RoundPlan.from_json(plan.to_json()) == plan
    page = lead.get("/p/desk/rounds/new", headers=HTML).text
    assert "Strict (J1)" in page
    with database.transaction() as session:
        project = project_of(session)
        with pytest.raises(Exception, match="before it judges alone"):
            judge_jobs.check_plan(session, project, plan)
        judges.let_alone(session, session.get_one(Judge, 1), "a test", actor_id=None)
        judge_jobs.check_plan(session, project, plan)
        human = LaunchForm(judge="J1").plan(RoundPlan())
        with pytest.raises(Exception, match="learns from people's judgments only"):
            judge_jobs.check_plan(session, project, human)
        unknown = LaunchForm(evaluation_judge="J7").plan(RoundPlan())
        with pytest.raises(Exception, match=r"no AI judge 'J7'; the project's judges: J1"):
            judge_jobs.check_plan(session, project, unknown)


def _completion_ids(session: object, evaluation: Evaluation) -> list[int]:
    query = select(Completion.id).where(
        Completion.checkpoint_id.in_([evaluation.new_checkpoint_id, evaluation.old_checkpoint_id])
    )
    return list(session.scalars(query))  # type: ignore[attr-defined]


def test_a_judge_whose_server_left_the_list_is_neither_asked_nor_changed(
    lead: TestClient, database: Database
) -> None:
    with database.transaction() as session:
        project = project_of(session)
        judge = judged.make_judge(session, project, "http://gone/v1")
        judges.let_alone(session, judge, "a test", actor_id=None)
        judged.make_comparisons(session, project, 2)
        evaluation_id = judged.make_evaluation(session, project, 2).id
    page, api = "/p/desk/labelers/judges/1", "/api/v1/projects/desk/judges/1"
    rule = "AI judge J1 cannot be asked: server http://gone/v1 is not among those that AI judges"
    assert rule in lead.get(page, headers=HTML).text
    for url, data in (
        (f"{page}/try", {"comparison": "1"}),
        (f"{page}/compare", {"count": "1"}),
        (f"{page}/label", {"count": "1"}),
        (f"{page}/limits", {"concurrency": "2"}),
        (f"/p/desk/evaluations/{evaluation_id}/judge", {"judge_id": "1", "decides": "1"}),
    ):
        answer = lead.post(url, data=data, headers=HTML)
        assert (answer.status_code, rule in answer.text) == (422, True), url
    for url, body in (
        (f"{api}/try", {"comparison_id": 1}),
        (f"{api}/compare", {}),
        (f"{api}/label", {}),
        (f"{api}/evaluate", {"evaluation_id": evaluation_id}),
    ):
        answer = lead.post(url, json=body)
        assert (answer.status_code, rule in answer.text) == (422, True), url
    assert rule in lead.put(f"{api}/limits", json={}).text
    assert lead.post(f"{page}/archive", data={"archived": "1"}).status_code == 303
    with database.reader() as session:
        assert session.scalars(select(Job)).all() == []
