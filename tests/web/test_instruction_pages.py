"""The instruction on pages and in the API: its versions, what a change means, its judgments."""

import html
import re
from collections.abc import Callable

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.db import Database, now
from app.domain.states import RoundState
from app.models import (
    Checkpoint,
    CheckpointKind,
    Export,
    Judgment,
    Project,
    Prompt,
    Role,
    Round,
    Split,
    User,
)
from app.services.people import accounts
from app.services.project import projects
from tests.services import sample
from tests.services.sample_votes import make_comparison, vote

SignIn = Callable[..., TestClient]
API = "/api/v1/projects/desk"
FORM = {"name": "Desk", "judgment_kind": "pick", "k": "2", "overlap": "3", "rating_max": "5"}


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user, instruction="Be brief.")
        vote(session, make_comparison(session, project), user, preferred="a")
        make_comparison(session, project)
    return browser


def _save(browser: TestClient, instruction: str) -> str:
    answer = browser.post("/p/desk/settings", data=FORM | {"instruction": instruction})
    assert answer.status_code == 303
    return html.unescape(browser.get("/p/desk/settings").text)


def test_the_settings_say_what_a_change_means(lead: TestClient) -> None:
    page = lead.get("/p/desk/settings").text
    assert "Version 1: 1 judgment and 0 responses were made under it and keep it." in page
    saved = _save(lead, "Be kind.")
    assert "The instruction is now version 2; 1 judgment and 0 responses were made" in saved
    assert "Version 2; nothing has been made under it yet." in saved


def test_saving_the_same_text_adds_no_version(lead: TestClient) -> None:
    assert "The instruction is now" not in _save(lead, "Be brief.\r\n")
    assert lead.get(API).json()["instruction_version"] == 1


def test_old_versions_are_listed_and_compared(lead: TestClient) -> None:
    _save(lead, "Be kind.")
    _save(lead, "Be kind and short.")
    page = lead.get("/p/desk/settings/instruction").text
    assert all(text in page for text in ("Be brief.", "Be kind.", "Be kind and short."))
    assert "Version 2 to version 3" in page
    first = lead.get("/p/desk/settings/instruction?old=1&new=2").text
    assert re.search(r"<del>.*brief.*</del>", first, re.DOTALL)
    missing = lead.get("/p/desk/settings/instruction?old=1&new=9")
    assert missing.status_code == 404


def test_the_api_lists_versions_with_what_was_made_under_them(lead: TestClient) -> None:
    edited = lead.patch(API, json={"instruction": "Be kind."}, headers=_csrf(lead))
    assert edited.json()["instruction_version"] == 2
    listed = lead.get(f"{API}/instructions").json()
    assert [(one["version"], one["text"], one["judgments"]) for one in listed] == [
        (2, "Be kind.", 0),
        (1, "Be brief.", 1),
    ]


def _csrf(browser: TestClient) -> dict[str, str]:
    page = browser.get("/p/desk/settings").text
    token = re.findall(r'name="csrf-token" content="([^"]*)"', page)
    return {"X-CSRF-Token": token[0]} if token else {}


def test_a_form_records_the_instruction_that_it_shows(
    lead: TestClient, sign_in: SignIn, database: Database
) -> None:
    labeler = sign_in("labeler")
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == "labeler")).one()
        project = session.scalars(select(Project)).one()
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
        sample.read_guidelines(session, project, user.id)
    labeler.post("/p/desk/label/claim")
    page = labeler.get("/p/desk/label").text
    assert "Be brief." in page
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    assert fields["instruction_version"] == "1"
    _save(lead, "Be kind.")
    assert "Be kind." in labeler.get("/p/desk/label").text
    sent = labeler.post("/p/desk/label/submit", data=fields | {"choice": "a"})
    assert sent.status_code == 303, sent.text
    with database.reader() as session:
        made = select(Judgment.instruction_version).where(Judgment.labeler_id == user.id)
        assert list(session.scalars(made)) == [1]


def test_an_export_is_made_with_the_instruction_apart(lead: TestClient, database: Database) -> None:
    data = {"format": "trl-explicit", "instruction": "apart", "purpose": "train", "split": "train"}
    assert lead.post("/p/desk/exports", data=data).status_code == 303
    refused = lead.post("/p/desk/exports", data=data | {"format": "hh"})
    assert refused.status_code == 422
    assert "has no field for the instruction" in html.unescape(refused.text)
    with database.reader() as session:
        assert session.scalars(select(Export)).one().options["instruction"] == "apart"


def test_exports_from_before_there_were_versions_are_shown(
    lead: TestClient, database: Database
) -> None:
    lead.post("/p/desk/exports", data={"format": "hh", "purpose": "train", "split": "train"})
    with database.transaction() as session:
        export = session.scalars(select(Export)).one()
        export.state, export.ready_at = "ready", now(session)
        export.manifest = {"instructions": {"1": "Be brief."}}
    assert "Be brief." in lead.get("/p/desk/exports/1").text
    with database.transaction() as session:
        session.scalars(select(Export)).one().manifest = {"rows": 1}
    assert lead.get("/p/desk/exports/1").status_code == 200


def test_a_round_that_would_train_under_another_instruction_is_remarked(
    lead: TestClient, database: Database
) -> None:
    with database.transaction() as session:
        session.execute(update(Prompt).values(split=Split.TRAIN))
    assert "training uses version" not in lead.get("/p/desk/rounds/new").text
    _save(lead, "Be kind.")
    page = lead.get("/p/desk/rounds/new").text
    assert "1 of 1 judgments were made under another instruction (1 under version 1)" in page
    preview = lead.post(f"{API}/rounds/preview", json={}, headers=_csrf(lead)).json()
    assert len(preview["remarks"]) == 1


def test_a_model_names_its_instruction(lead: TestClient, database: Database) -> None:
    with database.transaction() as session:
        model = Checkpoint(
            project_id=session.scalars(select(Project.id)).one(),
            kind=CheckpointKind.REWARD,
            name="Reward 1",
            uri="x",
            config={"instruction": "Be brief.", "instruction_version": 1},
            created_at=now(session),
        )
        session.add(model)
        session.flush()
        number = model.id
    page = lead.get(f"/p/desk/models/{number}").text
    assert re.search(r"Version 1:\s+Be brief\.", page)


def test_a_change_during_a_round_says_which_stages_use_it(
    lead: TestClient, database: Database
) -> None:
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        session.add(
            Round(
                project_id=project.id,
                number=4,
                state=RoundState.LABELING,
                plan={},
                created_at=now(session),
            )
        )
    page = _save(lead, "Be kind.")
    assert "Round 4 is running: the stages that it has yet to start use it." in page
