"""Gold, repeats and evaluation are mixed in at set rates, and nobody can tell them apart."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import Assignment, Comparison, Project, Purpose, Role, User
from app.services.people import accounts
from app.services.quality import labeler_quality
from tests.services import sample

API = "/api/v1/projects/desk"
RATES = {"gold_percent": "20", "repeat_percent": "15", "evaluation_percent": "30"}
JUDGED = 160


@pytest.fixture
def labeler(database: Database, sign_in: Callable[..., TestClient]) -> TestClient:
    """Give a labeler's browser in a project whose lead has set the rates on the settings page."""
    browser = sign_in("labeler")
    lead = sign_in("lead")
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk", name="Desk", overlap=1)
        for name, role in (("labeler", Role.LABELER), ("lead", Role.LEAD)):
            user = session.scalars(select(User).where(User.name == name)).one()
            accounts.add_member(session, project.id, user.id, role, actor_id=None)
        for _ in range(JUDGED):
            sample.make_comparison(session, project)
        for at in range(JUDGED // 2):
            sample.make_comparison(session, project, purpose=Purpose.EVALUATION)
            answer = {"preferred": "ab"[at % 2]}
            sample.make_comparison(session, project, purpose=Purpose.GOLD, gold_answer=answer)
    assert lead.post("/p/desk/settings/mix", data=RATES).status_code == 303
    return browser


def _judge(labeler: TestClient) -> tuple[list[dict[str, Any]], list[int]]:
    """Judge many comparisons as the page does; return what was sent, and the count after each."""
    sent: list[dict[str, Any]] = []
    counted: list[int] = []
    (one,) = labeler.post(f"{API}/assignments", json={"count": 1}).json()["assignments"]
    while len(sent) < JUDGED:
        sent.append(one)
        given = {
            "assignment_id": one["id"],
            "lease_token": one["lease_token"],
            "key": f"key-{one['id']:08d}",
            "answer": {"kind": "pick", "preferred": "a", "strength": 2},
        }
        exchanged = labeler.post(
            f"{API}/assignments/exchange", json={"count": 1, "submissions": [given]}
        ).json()
        assert exchanged["results"][0]["refused"] is None
        (one,) = exchanged["assignments"]
        counted.append(labeler.get(f"{API}/assignments/queue").json()["judged"])
    return sent, counted


def test_rates_hold_results_show_and_nothing_gives_them_away(
    labeler: TestClient, database: Database
) -> None:
    with labeler:  # one loop for all requests
        sent, counted = _judge(labeler)
    assert counted == list(range(1, JUDGED + 1))  # the count goes up with each one, gold or not
    with database.reader() as session:
        rows = {
            row.id: row.purpose
            for row in session.execute(select(Comparison.id, Comparison.purpose))
        }
        order = {
            one["id"]: rows[session.get_one(Assignment, one["id"]).comparison_id] for one in sent
        }
        project = session.scalars(select(Project)).one()
        (habits,) = (
            one for one in labeler_quality.of_project(session, project.id) if one.judgments
        )
    shares = Counter(order.values())
    # Four standard errors of a share of 160; repeats only start after twenty judgments.
    assert abs(shares[Purpose.GOLD] / JUDGED - 0.2) < 0.13
    assert abs(shares[Purpose.REPEAT] / JUDGED - 0.15) < 0.13
    assert abs(shares[Purpose.EVALUATION] / JUDGED - 0.65 * 0.3) < 0.13
    assert habits.gold.n == shares[Purpose.GOLD]
    assert habits.same_again.n == shares[Purpose.REPEAT]
    assert habits.same_again.value == 1.0
    _looks_alike(sent, order)


def _looks_alike(sent: list[dict[str, Any]], order: dict[int, str]) -> None:
    """Nothing sent to the labeler depends on the purpose."""
    for purpose in Purpose:
        mine = [one for one in sent if order[one["id"]] == purpose]
        assert {_shape(one) for one in mine} <= {_shape(sent[0])}
        text = " ".join(str({key: one[key] for key in one if key != "messages"}) for one in mine)
        assert not any(word in text for word in ("gold", "repeat", "evaluation", "practice': True"))
    ids = [one["comparison_id"] for one in sent]
    assert len(set(ids)) == len(ids)
    # Repeats are made last; a number that grew with time would tell. Half lie above the median.
    repeats = [one["comparison_id"] for one in sent if order[one["id"]] == Purpose.REPEAT]
    above = sum(number > sorted(ids)[len(ids) // 2] for number in repeats)
    assert 0.05 < above / len(repeats) < 0.95


def _shape(one: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted((key, type(value).__name__) for key, value in one.items()))
