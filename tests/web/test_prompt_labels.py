"""Categories and tags on the prompts page and in the API: filters, bulk edits, undo."""

from collections.abc import Callable
from html import unescape

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import User
from app.services.project import projects

SignIn = Callable[..., TestClient]
FILE = b"""{"prompt": "Add 2 and 2", "category": "math", "tags": ["short", "easy"]}
{"prompt": "Prove it", "category": "math"}
{"prompt": "A poem", "category": "writing", "tags": "rhyme, short"}
{"prompt": "Plain"}
"""
API = "/api/v1/projects/desk/prompts"


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a browser signed in as the lead of the project desk, with four prompts."""
    browser = sign_in("lead")
    with database.transaction() as session:
        projects.create(session, name="Desk", owner=session.scalars(select(User)).one())
    browser.post("/p/desk/prompts", files={"file": ("q.jsonl", FILE)})
    return browser


def asked(lead: TestClient, **query: object) -> list[str]:
    found = lead.get(API, params={str(key): str(value) for key, value in query.items()})
    assert found.status_code == 200, found.text
    return [prompt["messages"][0]["content"] for prompt in found.json()["prompts"]]


def html(lead: TestClient, path: str) -> str:
    answer = lead.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 200, answer.text[:300]
    return unescape(answer.text)


def test_the_api_filters_by_category_and_tag_and_pages_by_key(lead: TestClient) -> None:
    assert asked(lead, category="math") == ["Prove it", "Add 2 and 2"]
    assert asked(lead, category="(none)") == ["Plain"]
    assert asked(lead, tag="short") == ["A poem", "Add 2 and 2"]
    first = lead.get(API, params={"tag": "short", "limit": 1}).json()
    assert first["prompts"][0]["tags"] == ["rhyme", "short"]
    assert asked(lead, tag="short", limit=1, before=first["before"]) == ["Add 2 and 2"]
    assert lead.get(f"{API}/labels").json() == {
        "categories": ["math", "writing"],
        "tags": ["easy", "rhyme", "short"],
        "sources": ["q.jsonl"],
    }


def test_the_api_edits_in_bulk_and_undoes(lead: TestClient) -> None:
    body = {"action": "tag", "value": "exam", "filter": {"category": "math"}}
    made = lead.post(f"{API}/edits", json=body)
    assert made.status_code == 201
    assert (made.json()["selected"], made.json()["changed"]) == (2, 2)
    edit = made.json()["edit"]
    assert edit["summary"] == "2 prompts tagged “exam”"
    assert asked(lead, tag="exam") == ["Prove it", "Add 2 and 2"]
    assert lead.post(f"{API}/edits/{edit['id']}/undo").json() == {"restored": 2, "left": 0}
    assert asked(lead, tag="exam") == []
    assert lead.get(f"{API}/edits").json()[0]["undone_at"] is not None
    assert lead.post(f"{API}/edits/{edit['id']}/undo").status_code == 409


def test_the_api_does_not_change_every_prompt_unasked(lead: TestClient) -> None:
    body = {"action": "tag", "value": "exam"}
    refused = lead.post(f"{API}/edits", json=body)
    assert refused.status_code == 422
    assert "no prompts are selected" in refused.json()["detail"]
    assert lead.post(f"{API}/edits", json=body | {"all": True}).json()["changed"] == 4


def test_the_page_filters_edits_the_selection_and_offers_to_undo(lead: TestClient) -> None:
    page = html(lead, "/p/desk/prompts?category=math")
    assert "2 prompts match: set a tag or category" in " ".join(page.split())
    assert "Prove it" in page
    assert "A poem" not in page
    form = {"category": "math", "action": "tag", "value": "exam"}
    done = lead.post("/p/desk/prompts/labels", data=form)
    assert done.headers["location"] == "/p/desk/prompts?category=math"
    page = html(lead, done.headers["location"])
    assert "2 prompts tagged “exam”." in page
    undo = page.split('action="/p/desk/prompts/labels/')[1].split('"')[0]
    undone = lead.post(f"/p/desk/prompts/labels/{undo}", data={"category": "math"})
    assert "Undone: 2 prompts restored." in html(lead, undone.headers["location"])
    assert asked(lead, tag="exam") == []


def test_a_refused_edit_says_why_and_keeps_the_selection(lead: TestClient) -> None:
    form = {"category": "math", "action": "tag", "value": "a, b"}
    answer = lead.post("/p/desk/prompts/labels", data=form, headers={"accept": "text/html"})
    assert answer.status_code == 422
    assert "no comma" in answer.text
    assert "A poem" not in answer.text


def test_a_prompt_shows_its_labels_and_an_import_what_became_of_them(lead: TestClient) -> None:
    prompt = lead.get(API, params={"tag": "rhyme"}).json()["prompts"][0]
    page = html(lead, f"/p/desk/prompts/{prompt['id']}")
    assert "/p/desk/prompts?tag=rhyme" in page
    assert "/p/desk/prompts?category=writing" in page
    other = b'{"prompt": "Plain", "category": "misc", "tags": "new"}\n'
    other += b'{"prompt": "A poem", "category": "misc"}\n'
    other += b'{"prompt": "Long", "category": "' + b"x" * 200 + b'"}\n'
    answer = lead.post("/p/desk/prompts", files={"file": ("r.jsonl", other)})
    said = " ".join(html(lead, answer.headers["location"]).split())
    assert "Tags added: 1." in said
    assert "1 prompt without a category got one." in said
    assert "1 prompt keeps its category" in said
    assert "1 category or tag is too long" in said
