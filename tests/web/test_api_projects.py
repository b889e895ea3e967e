"""The API for projects, files and agreement: what scripts can do, and what they are told."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import Role, User
from app.services.people import accounts
from app.services.project import projects
from tests.services.sample_votes import make_comparison, vote

API = "/api/v1/projects"


@pytest.fixture
def script(
    application: Any, database: Database, make_user: Callable[..., User]
) -> Iterator[TestClient]:
    """Give a client with an administrator's token, and the project desk."""
    user = make_user("root", is_admin=True)
    with database.transaction() as session:
        token = accounts.create_token(session, user, name="t", scopes=["admin"]).secret
        projects.create(session, name="Desk", owner=user)
    headers = {"authorization": f"Bearer {token}"}
    with TestClient(application, base_url="http://127.0.0.1", headers=headers) as client:
        yield client


def rows(*given: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in given).encode()


def test_a_project_is_made_edited_and_read_back(script: TestClient) -> None:
    made = script.post(API, json={"name": "Poems", "judgment_kind": "rank", "k": 4, "rules": "x"})
    assert made.status_code == 201
    assert made.json()["slug"] == "poems"
    edited = script.patch(f"{API}/poems", json={"overlap": 5})
    assert (edited.json()["overlap"], edited.json()["k"]) == (5, 4)
    assert script.get(f"{API}/poems").json() == edited.json()
    assert {one["slug"] for one in script.get(API).json()} == {"desk", "poems"}
    refused = script.patch(f"{API}/poems", json={"k": 1})
    assert refused.status_code == 422
    assert "not 1" in refused.json()["detail"]


def test_criteria_are_arranged_by_name_and_read_back(script: TestClient) -> None:
    made = {"name": "Essays", "judgment_kind": "rate", "k": 3, "rating_max": 7}
    script.post(API, json=made | {"criteria": [{"name": "clear"}, {"name": "true", "weight": 2}]})
    assert script.get(f"{API}/essays").json()["rating_max"] == 7
    url = f"{API}/essays/criteria"
    assert [one["name"] for one in script.get(url).json()] == ["clear", "true"]
    put = script.put(url, json=[{"name": "true", "help": "Is it?"}, {"name": "kind"}])
    assert put.json() == script.get(url).json()
    assert put.json()[0] == {"name": "true", "help": "Is it?", "weight": 1.0, "is_active": True}
    assert script.put(url, json=[]).status_code == 422
    assert script.patch(f"{API}/essays", json={"rating_max": 10}).status_code == 422


@pytest.mark.parametrize("is_form", [True, False])
def test_a_file_comes_as_the_body_or_as_a_form(script: TestClient, is_form: bool) -> None:
    body = gzip.compress(rows({"prompt": "A"}, {"prompt": "B"}) + b"oops\n")
    sent = {"files": {"file": ("q.jsonl.gz", body)}} if is_form else {"content": body}
    found = script.post(f"{API}/desk/imports", **sent)
    assert found.status_code == 201, found.text
    assert (found.json()["format"], found.json()["counts"]["prompts_new"]) == ("prompts", 2)
    assert found.json()["rejects"][0]["line"] == 3
    again = script.post(f"{API}/desk/imports", **sent)
    assert again.json()["counts"]["prompts_new"] == 0
    listed = script.get(f"{API}/desk/prompts").json()
    assert sum(listed["counts"].values()) == len(listed["prompts"]) == 2
    assert script.get(f"{API}/desk/imports/{again.json()['id']}").json() == again.json()


def test_every_kind_of_row_goes_the_same_way(script: TestClient) -> None:
    url = f"{API}/desk/imports"
    completions = {"prompt": "A", "completions": [{"model": "m", "output": "x"}, "y"]}
    demonstration = {"prompt": "B", "completion": "yes"}
    preference = {"prompt": "C", "chosen": "x", "rejected": "y"}
    expected = {
        "comparisons_new": completions,
        "demonstrations_new": demonstration,
        "judgments_new": preference,
    }
    for name, row in expected.items():
        assert script.post(url, content=rows(row)).json()["counts"][name] == 1


def test_agreement_names_the_reason_where_there_is_no_number(
    script: TestClient, database: Database
) -> None:
    empty = script.get(f"{API}/desk/agreement").json()
    assert empty["raw"]["value"] is None
    assert empty["raw"]["reason"]
    assert empty["levels"] is None
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        people = [
            accounts.create_user(session, email=f"p{n}@example.org", name="P", password=None)
            for n in range(2)
        ]
        for one in people:
            accounts.add_member(session, project.id, one.id, Role.LABELER, actor_id=None)
        for n in range(6):
            comparison = make_comparison(session, project, overlap=2)
            vote(session, comparison, people[0], preferred="a")
            vote(session, comparison, people[1], preferred="a" if n else "b")
    found = script.get(f"{API}/desk/agreement").json()
    assert found["raw"]["value"] == pytest.approx(5 / 6)
    assert found["raw"]["low"] < 5 / 6 < found["raw"]["high"]
    assert [one["labeler"] for one in found["by_labeler"]] == ["L2", "L3"]
    # With equal overlap both weightings of alpha agree, and two labelers have a Cohen's kappa.
    assert found["alpha"]["value"] == pytest.approx(found["alpha_by_comparison"]["value"])
    assert found["fleiss"]["value"] == found["cohen"]["value"] == pytest.approx(4 / 6)
    assert found["pairs"][0]["kappa"]["value"] == pytest.approx(4 / 6)
    assert "each judgment of a pair the same" in found["weighting"]
    assert found["by_labeler"][0]["longer_by_others"]["n"] == 6
    assert [one["agreement"] for one in script.get(f"{API}/desk/agreement/lowest").json()] == [0.0]
    assert script.get(f"{API}/desk/agreement?round=3").status_code == 404


def test_members_and_guidelines(script: TestClient, make_user: Callable[..., User]) -> None:
    make_user("ann")
    found = script.put(f"{API}/desk/members", json={"email": "ann@example.org", "role": "lead"})
    assert found.json()[-1]["role"] == "lead"
    assert script.put(f"{API}/desk/members", json={"email": "x@example.org"}).status_code == 404
    made = script.post(f"{API}/desk/guidelines", json={"rules": "Short beats long."})
    assert made.json()["version"] == 2
    assert script.get(f"{API}/desk/guidelines").json()["rules"] == "Short beats long."
    assert script.get(f"{API}/desk/guidelines?version=1").json()["rules"] == ""


def test_a_token_that_may_only_read_changes_nothing(
    script: TestClient, database: Database, application: Any
) -> None:
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        token = accounts.create_token(session, user, name="r", scopes=["read"]).secret
    headers = {"authorization": f"Bearer {token}"}
    with TestClient(application, base_url="http://127.0.0.1", headers=headers) as reader:
        assert reader.get(f"{API}/desk").status_code == 200
        assert reader.patch(f"{API}/desk", json={"k": 2}).status_code == 403
        assert reader.post(f"{API}/desk/imports", content=rows({"prompt": "A"})).status_code == 403


def test_the_description_tells_scripts_how(script: TestClient) -> None:
    paths = script.get("/api/openapi.json").json()["paths"]
    body = paths["/api/v1/projects/{slug}/imports"]["post"]["requestBody"]
    assert "application/jsonl" in body["content"]
    assert paths["/api/v1/projects/{slug}/agreement"]["get"]["summary"]
