"""Choosing a base model on each way in, and what pages and the API say of its check."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import Checkpoint, Job, Project, User
from app.services.checkpoints import base_models
from app.services.jobs import job_leases
from app.services.project import projects
from app.settings import Settings

LISTED = "/models/*,org/*"
API = "/api/v1/projects"
FORM = {"name": "Desk", "judgment_kind": "pick"}
HTML = {"accept": "text/html"}
REFUSED = {"name": "org/model", "refusal": "models of type 't5' are unsupported"}
FOUND: dict[str, Any] = {
    "name": "org/model",
    "refusal": None,
    "model_type": "llama",
    "architecture": "LlamaForCausalLM",
    "parameters": 1000,
    "trainable_parameters": 25,
    "trained_layers": ["q_proj"],
    "ends": {"2": "</s>"},
    "template": {"exists": True, "system": True, "thinking": False},
    "sampling": {"engine": "fused", "why": ""},
    "packing": {"is_exact": True, "window": None, "why": ""},
    "shared_prompts": {"is_exact": True, "window": None, "why": ""},
    "bytes_needed": 2**31,
    "bytes_here": 2**30,
}


@pytest.fixture
def lead(
    sign_in: Callable[..., TestClient], database: Database, monkeypatch: pytest.MonkeyPatch
) -> TestClient:
    browser = sign_in("lead", is_admin=True)
    with database.transaction() as session:
        projects.create(session, name="Desk", owner=session.scalars(select(User)).one())
    settings = browser.app.state.settings.model_copy(  # type: ignore[attr-defined]
        update={"allowed_base_models": LISTED}
    )
    monkeypatch.setattr(browser.app.state, "settings", settings)  # type: ignore[attr-defined]
    return browser


WAYS: dict[str, Callable[[TestClient, str], Any]] = {
    "form": lambda c, name: c.post("/projects/new", data=FORM | {"name": "B", "base_model": name}),
    "settings": lambda c, name: c.post("/p/desk/settings", data=FORM | {"base_model": name}),
    "post": lambda c, name: c.post(API, json={"name": "B", "base_model": name}),
    "patch": lambda c, name: c.patch(f"{API}/desk", json={"base_model": name}),
    "checkpoints": lambda c, name: c.post(f"{API}/desk/checkpoints", json={"uri": name}),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_in_holds_to_the_list_and_has_the_model_checked(
    lead: TestClient, database: Database, way: str, tmp_path: Path
) -> None:
    for name in ("other/model", "/models/../etc", str(tmp_path), str(tmp_path / "gone")):
        refused = WAYS[way](lead, name)
        assert (refused.status_code, "is not allowed here" in refused.text) == (422, True), name
    with database.reader() as session:
        assert not session.scalars(select(Checkpoint)).all()
        assert not session.scalars(select(Project.base_model).where(Project.slug == "desk")).one()
    assert WAYS[way](lead, " org/model ").status_code in {200, 201, 303}
    with database.reader() as session:
        row = session.scalars(select(Checkpoint)).one()
        job = session.scalars(select(Job)).one()
    assert (row.uri, job.kind, job.payload) == ("org/model", "check", {"checkpoint_id": row.id})


def test_no_way_in_leads_to_models_of_projects(lead: TestClient, database: Database) -> None:
    settings = lead.app.state.settings  # type: ignore[attr-defined]
    lead.app.state.settings = settings.model_copy(  # type: ignore[attr-defined]
        update={"allowed_base_models": "*"}
    )
    name = f"{settings.artifacts}/project-2/policy"
    for way in WAYS.values():
        refused = way(lead, name)
        assert (refused.status_code, "trained here" in refused.text) == (422, True)


def test_on_a_shared_database_only_what_is_listed_is_allowed(
    lead: TestClient, settings: Settings
) -> None:
    shared = settings.model_copy(update={"allowed_base_models": None})
    lead.app.state.settings = shared  # type: ignore[attr-defined]
    assert not settings.is_embedded
    refused = WAYS["patch"](lead, "org/model")
    assert (refused.status_code, "allowed: none" in refused.text) == (422, True)
    assert Settings().base_models == "*"


def end_check(database: Database, found: dict[str, Any]) -> None:
    with database.transaction() as session:
        claimed = job_leases.claim(session, "w", ["gpu"], lease_s=60)
        assert claimed is not None
        base_models.record(session, claimed.payload["checkpoint_id"], found)
        job_leases.succeed(session, claimed.job_id, claimed.lease_token, {})


def test_the_page_follows_a_check_to_its_end(lead: TestClient, database: Database) -> None:
    WAYS["settings"](lead, "org/model")
    part = "/p/desk/settings/base-model"
    page = lead.get("/p/desk/settings", headers=HTML).text
    assert f'data-refresh="{part}"' in page
    assert "being checked" in lead.get("/p/desk", headers=HTML).text
    assert "data-done" not in lead.get(part, headers=HTML).text
    end_check(database, FOUND)
    live = lead.get(part, headers=HTML).text
    assert "data-done" in live
    assert "1,000, of which an adapter trains 25 (2.50 %)" in live
    assert "Training needs about 2.0 GiB and the worker" in live
    model = lead.get(f"{API}/desk/checkpoints").json()[0]["id"]
    assert "LlamaForCausalLM" in lead.get(f"/p/desk/models/{model}", headers=HTML).text
    assert lead.get(f"{API}/desk/base-model").json()["state"] == "ready"


def test_a_refusal_is_told_where_the_lead_looks_and_can_be_checked_again(
    lead: TestClient, database: Database
) -> None:
    WAYS["patch"](lead, "org/model")
    end_check(database, REFUSED)
    overview = lead.get("/p/desk", headers=HTML).text
    assert "Choose another base model" in overview
    assert REFUSED["refusal"].replace("'", "&#39;") in overview
    assert 'href="/p/desk/settings#base_model"' in overview
    said = lead.get(f"{API}/desk/base-model").json()
    assert (said["state"], said["refusal"]) == ("refused", REFUSED["refusal"])
    assert lead.post("/p/desk/settings/base-model/check").status_code == 303
    again = lead.post(f"{API}/desk/base-model/check")
    assert (again.status_code, again.json()["state"]) == (202, "checking")
    assert again.json()["refusal"] == REFUSED["refusal"], "known until it is known better"
    with database.reader() as session:
        assert len(session.scalars(select(Job)).all()) == 2, "asking twice is one check"


def test_a_starter_has_nothing_to_check(lead: TestClient, database: Database) -> None:
    assert WAYS["patch"](lead, "starter").status_code == 200
    assert lead.get(f"{API}/desk/base-model").status_code == 404
    assert lead.get("/p/desk/settings/base-model", headers=HTML).status_code == 404
    assert "Check again" not in lead.get("/p/desk/settings", headers=HTML).text
    with database.reader() as session:
        assert not session.scalars(select(Job)).all()


def test_without_any_model_the_page_leads_to_the_choice_of_one(lead: TestClient) -> None:
    def ways_on() -> list[str]:
        page = lead.get("/p/desk/models", headers=HTML).text
        return re.findall(r'<a class="btn[^"]*" href="([^"]*)"', page.partition("No models yet")[2])

    assert ways_on() == ["/p/desk/settings#base_model"]
    assert 'id="base_model"' in lead.get("/p/desk/settings", headers=HTML).text
    lead.patch(f"{API}/desk", json={"base_model": "starter"})
    assert ways_on() == ["/p/desk/rounds"]
