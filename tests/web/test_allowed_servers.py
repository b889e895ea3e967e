"""Launches and scores that would call a server which the operator does not allow are refused."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import Job, Project, Role, Round, User
from app.services.judging import judges
from app.services.people import accounts
from app.settings import Settings
from tests.services.rounds.stages import make_project
from tests.worker.runs import judged

HTML = {"accept": "text/html"}
ENDPOINT = {"kind": "endpoint", "url": "https://scorer/score"}
JUDGE = {"kind": "judge", "url": "http://judge/v1", "model": "m", "rubric": "Be kind."}
LISTED = {
    "completion_servers": "http://gpu/v1",
    "reward_endpoints": "https://scorer/score",
    "judge_servers": "http://judge/v1",
}


@pytest.fixture
def lead(sign_in: Callable[..., TestClient]) -> TestClient:
    return sign_in("lead")


@pytest.fixture
def project(database: Database, lead: TestClient) -> Project:
    """Make a project with everything that a round needs, and an AI judge."""
    with database.transaction() as session:
        project = make_project(session)
        user = session.query(User).filter_by(name="lead").one()
        accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=user.id)
        judge = judged.make_judge(session, project, "http://judge/v1")
        judges.let_alone(session, judge, "a test", actor_id=None)
    return project


def part(kind: str, source: str, judge: str = "") -> dict[str, str]:
    """Return the row of a reward, as the form sends it."""
    empty = dict.fromkeys(("name", "label", "reads", "at_least"), "")
    row = {**empty, "kind": kind, "source": source, "judge": judge, "rubric": "", "weight": "1"}
    return {f"part_{name}": value for name, value in (row | {"score": "logit"}).items()}


CALLS: list[tuple[dict[str, Any], dict[str, str], str, str]] = [
    (
        {"server": {"url": "http://gpu/v1", "model": "m"}},
        {"server_url": "http://gpu/v1", "server_model": "m"},
        "http://gpu/v1",
        "ATTUNE_COMPLETION_SERVERS",
    ),
    (
        {"reward": {"parts": [ENDPOINT]}},
        part("endpoint", "https://scorer/score"),
        "https://scorer/score",
        "ATTUNE_REWARD_ENDPOINTS",
    ),
    (
        {"reward": {"parts": [JUDGE]}},
        part("judge", "http://judge/v1", "m"),
        "http://judge/v1",
        "ATTUNE_JUDGE_SERVERS",
    ),
    (
        {"evaluation": {"judge": "J1"}},
        {"evaluation_judge": "J1"},
        "http://judge/v1",
        "ATTUNE_JUDGE_SERVERS",
    ),
]


@pytest.mark.parametrize(("plan", "fields", "url", "setting"), CALLS)
def test_a_round_with_an_unlisted_server_is_refused_at_launch(
    lead: TestClient,
    project: Project,
    database: Database,
    settings: Settings,
    application: Any,
    plan: dict[str, Any],
    fields: dict[str, str],
    url: str,
    setting: str,
) -> None:
    words = (url, f"({setting}: none)", "the operator of this installation can add it")
    page = f"/p/{project.slug}/rounds/new"
    rounds = f"/api/v1/projects/{project.slug}/rounds"
    answer = lead.post(rounds, json={"sft": None, **plan})
    assert answer.status_code == 422
    assert all(word in answer.json()["detail"] for word in words), answer.text
    form = {"asked": "1", **fields}
    shown = lead.post(page, data=form, headers=HTML)
    assert shown.status_code == 422
    assert all(word in shown.text for word in words)
    assert setting in lead.post(page, data=form | {"count": "1"}, headers=HTML).text
    with database.reader() as session:
        assert session.scalars(select(Round)).all() == []
        assert session.scalars(select(Job)).all() == []
    application.state.settings = settings.model_copy(update=LISTED)
    assert lead.post(rounds, json={"sft": None, **plan}).status_code == 201


@pytest.mark.parametrize("scorer", [ENDPOINT, JUDGE])
def test_scores_by_an_unlisted_server_are_refused_before_a_job(
    lead: TestClient, project: Project, database: Database, scorer: dict[str, str]
) -> None:
    setting = "ATTUNE_JUDGE_SERVERS" if scorer is JUDGE else "ATTUNE_REWARD_ENDPOINTS"
    api = lead.post(
        f"/api/v1/projects/{project.slug}/scores", json={"scorer": scorer, "models": [1]}
    )
    assert api.status_code == 422
    assert f"{scorer['url']} is not among those" in api.json()["detail"]
    form = {"kind": scorer["kind"], "source": scorer["url"], "judge": "m", "responses": "file"}
    upload = {"file": ("pairs.jsonl", b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n')}
    page = lead.post(f"/p/{project.slug}/scores", data=form, files=upload, headers=HTML)
    assert page.status_code == 422
    assert setting in page.text
    with database.reader() as session:
        assert session.scalars(select(Job)).all() == []
