"""The labeling API: what people's pages and simulated labelers speak."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Judgment, Project, Role, User
from app.services.people import accounts
from app.web import assignment_requests
from app.web.judgment_kinds.rate import RateIn
from tests.services import sample

SignIn = Callable[..., TestClient]
API = "/api/v1/projects/desk/assignments"


@pytest.fixture
def labeler(sign_in: SignIn, database: Database) -> TestClient:
    return _labeler(sign_in, database)


def _labeler(sign_in: SignIn, database: Database, **columns: Any) -> TestClient:
    browser = sign_in("ada")
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk", **columns)
        user = session.scalar(select(User).where(User.email == "ada@example.org"))
        assert user is not None
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
        for _ in range(5):
            sample.make_comparison(session, project)
    return browser


def _submission(assignment: dict[str, Any], **answer: Any) -> dict[str, Any]:
    return {
        "assignment_id": assignment["id"],
        "lease_token": assignment["lease_token"],
        "key": f"key-{assignment['id']:06d}",
        "answer": answer or {"kind": "pick", "preferred": "a", "strength": 3},
    }


def test_an_assignment_tells_nothing_of_models_scores_or_purpose(labeler: TestClient) -> None:
    (assignment,) = labeler.post(API, json={}).json()["assignments"]
    assert set(assignment) == {
        *("id", "comparison_id", "lease_token", "expires_at", "kind", "messages", "instruction"),
        "instruction_version",
        *("candidates", "strengths", "allow_tie", "allow_both_bad", "previous"),
        *("criteria", "rating_max", "reasons", "is_practice"),
    }
    assert {key for one in assignment["candidates"] for key in one} == {
        *("position", "text", "html", "raw", "earlier"),
    }


def test_judgments_go_in_and_the_next_come_out_in_one_request(
    labeler: TestClient, database: Database
) -> None:
    first = labeler.post(API, json={"count": 3}).json()["assignments"]
    assert len(first) == 3
    answer = labeler.post(
        f"{API}/exchange",
        json={"submissions": [_submission(one) for one in first], "count": 3},
    ).json()
    assert [result["refused"] for result in answer["results"]] == [None] * 3
    assert len(answer["assignments"]) == 2
    assert answer["queue"]["today"] == 3
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Judgment)) == 3


def test_one_refused_judgment_does_not_take_the_others_with_it(labeler: TestClient) -> None:
    good, bad = labeler.post(API, json={"count": 2}).json()["assignments"]
    wrong = _submission(bad, kind="rank", ranking=[1, 2])
    answer = labeler.post(
        f"{API}/exchange", json={"submissions": [wrong, _submission(good)], "count": 0}
    ).json()
    assert "asks for a pick" in answer["results"][0]["refused"]
    assert answer["results"][1]["judgment_id"] is not None


@pytest.mark.parametrize("misspelled", ["choice", "strenght", "Preferred"])
def test_a_field_that_a_judgment_does_not_have_is_refused_by_name(
    labeler: TestClient, database: Database, misspelled: str
) -> None:
    (one,) = labeler.post(API, json={"count": 1, "ahead": 0}).json()["assignments"][:1]
    body = _submission(one)
    body["answer"] = {**body["answer"], misspelled: 4}
    response = labeler.post(f"{API}/{one['id']}/submission", json=body)
    assert response.status_code == 422
    assert misspelled in response.json()["detail"]
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Judgment)) == 0
    body["answer"] |= {misspelled: None, "ranking": None, "reasons": [], "both_bad": False}
    assert labeler.post(f"{API}/{one['id']}/submission", json=body).status_code == 200


@pytest.mark.parametrize("empty", [None, False, "", [], {}])
def test_an_empty_field_of_another_kind_is_passed_over(empty: object) -> None:
    given = {"kind": "rate", "ratings": {"quality": [1, 2]}}
    assert RateIn.model_validate(given | {"both_bad": empty}) == RateIn.model_validate(given)
    with pytest.raises(ValidationError, match="both_bad"):
        RateIn.model_validate(given | {"both_bad": True})


def test_a_lost_response_can_be_asked_for_again(labeler: TestClient) -> None:
    (assignment,) = labeler.post(API, json={}).json()["assignments"]
    url = f"{API}/{assignment['id']}/submission"
    answers = [labeler.post(url, json=_submission(assignment)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json() == answers[1].json() == answers[2].json()
    other = _submission(assignment, kind="pick", preferred="b")
    assert labeler.post(url, json=other).status_code == 409


def test_undo_gives_the_answer_back_and_history_can_change_it(labeler: TestClient) -> None:
    (assignment,) = labeler.post(API, json={}).json()["assignments"]
    labeler.post(f"{API}/{assignment['id']}/submission", json=_submission(assignment))
    opened = labeler.post(f"{API}/undo", json={"key": "undo-key"}).json()
    assert opened["id"] == assignment["id"]
    assert opened["previous"]["answer"] == {
        **{"kind": "pick", "preferred": "a"},
        **{"strength": 3, "both_bad": False},
    }
    again = _submission(opened) | {"key": "second-key"}
    outcome = labeler.post(f"{API}/{opened['id']}/submission", json=again).json()
    edit = {"key": "third-key", "answer": {"kind": "pick", "preferred": "tie"}}
    judgments = "/api/v1/projects/desk/judgments"
    changed = labeler.put(f"{judgments}/{outcome['judgment_id']}", json=edit).json()
    (entry,) = labeler.get(judgments).json()
    assert entry["answer"]["preferred"] == "tie"
    assert entry["revision"] == 4
    taken = labeler.post(
        f"{judgments}/{changed['judgment_id']}/retraction", json={"key": "fourth-key"}
    )
    assert taken.status_code == 200
    assert labeler.get(judgments).json()[0]["is_retracted"]


def test_heartbeat_and_release_speak_of_the_leases_held(labeler: TestClient) -> None:
    (assignment,) = labeler.post(API, json={}).json()["assignments"]
    assert set(labeler.post(f"{API}/heartbeat").json()) == {str(assignment["id"])}
    assert labeler.post(f"{API}/release").json() == {"released": 1}
    assert labeler.post(f"{API}/heartbeat").json() == {}


def test_a_skip_needs_a_known_reason(labeler: TestClient) -> None:
    (assignment,) = labeler.post(API, json={}).json()["assignments"]
    body = {"key": "skip-key", "lease_token": assignment["lease_token"], "reason": "bored"}
    url = f"{API}/{assignment['id']}/skip"
    assert labeler.post(url, json=body).status_code == 422
    assert labeler.post(url, json=body | {"reason": "unclear"}).status_code == 204


def test_a_ranking_goes_in_by_canonical_position(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database, judgment_kind=JudgmentKind.RANK, k=4)
    (assignment,) = browser.post(API, json={}).json()["assignments"]
    given = _submission(assignment, kind="rank", ranking=[2, 1, 2, 4])
    browser.post(f"{API}/{assignment['id']}/submission", json=given)
    with database.reader() as session:
        assert session.scalar(select(Judgment.ranking)) == [2, 1, 2, 4]


def test_an_administrator_who_is_no_member_cannot_judge(
    sign_in: SignIn, labeler: TestClient
) -> None:
    admin = sign_in("root", is_admin=True)
    answer = admin.post(API, json={})
    assert answer.status_code == 409
    assert "not a member" in answer.json()["detail"]


def test_every_body_of_the_labeling_api_has_an_example_that_it_takes(application: Any) -> None:
    found = application.openapi()
    seen = set()
    for path, methods in found["paths"].items():
        if "/assignments" not in path and not re.search(r"/projects/{slug}/judgments", path):
            continue
        for operation in methods.values():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                schema = content["application/json"]["schema"]
                for one in schema.get("anyOf", [schema]):  # a body that may be left out
                    if "$ref" in one:
                        seen.add(one["$ref"].rsplit("/", 1)[1])
    assert seen >= {"ClaimIn", "ExchangeIn", "KeyIn", "ReleaseIn", "SkipIn", "SubmissionIn"}
    for name in seen & set(vars(assignment_requests)):
        (example,) = found["components"]["schemas"][name]["examples"]
        vars(assignment_requests)[name].model_validate(example)
    assert seen <= set(vars(assignment_requests))


def _deep(sign_in: SignIn, database: Database, **columns: Any) -> TestClient:
    browser = _labeler(sign_in, database, median_active_ms=20_000, **columns)
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        for _ in range(95):
            sample.make_comparison(session, project)
    return browser


def _claimed(browser: TestClient, **wanted: Any) -> list[int]:
    held: list[int] = []
    while True:
        response = browser.post(API, json={"held": held, "count": 5} | wanted)
        found = [one["id"] for one in response.json()["assignments"]]
        if not found:
            return held
        held += found


def test_more_is_leased_ahead_only_if_asked_for_and_as_the_queue_allows(
    sign_in: SignIn, database: Database
) -> None:
    browser = _deep(sign_in, database)
    assert browser.get(f"{API}/queue").json()["ahead"] == 10
    assert len(_claimed(browser)) == 3
    held = _claimed(browser, ahead=20)
    assert 10 <= len(held) <= 11
    assert len(set(held)) == len(held)
    assert browser.post(API, json={"ahead": 21}).status_code == 422


def test_some_leases_are_given_back_and_the_rest_stay(sign_in: SignIn, database: Database) -> None:
    browser = _deep(sign_in, database)
    held = _claimed(browser, ahead=20)
    back = held[3:]
    answer = browser.post(f"{API}/release", json={"assignments": [*back, 999_999]})
    assert answer.json() == {"released": len(back)}
    assert set(browser.post(f"{API}/heartbeat").json()) == {str(one) for one in held[:3]}
    assert browser.post(f"{API}/release").json() == {"released": 3}


def test_the_queue_names_the_newest_guidelines(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database)
    assert browser.get(f"{API}/queue").json()["guidelines_version"] == 1
