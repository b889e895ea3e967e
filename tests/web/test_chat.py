"""The chat page and its API: what is shown, what is escaped, who may read what."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database, now
from app.models import Chat, Checkpoint, CheckpointKind, ModelReply, ReplyState, Role, User
from app.services.checkpoints import chat_replies
from app.services.people import accounts
from app.services.project import projects
from app.web.pages import chat

SignIn = Callable[..., TestClient]
HTML = {"accept": "text/html"}
PAGE = "/p/desk/chat"


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a browser signed in as the lead of a project with two models and a reward model."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user, instruction="Be <b>kind</b>.")
        for kind, name in (("base", "Base 1"), ("policy", "Policy 1"), ("reward", "Reward 1")):
            session.add(
                Checkpoint(
                    project_id=project.id,
                    kind=CheckpointKind(kind),
                    name=name,
                    uri=name,
                    created_at=now(session),
                )
            )
    return browser


def ids(database: Database) -> dict[str, int]:
    with database.reader() as session:
        return {one.name: one.id for one in session.scalars(select(Checkpoint))}


def begin(lead: TestClient, database: Database, **form: object) -> str:
    """Start a chat of both models and send a message; return the chat's address."""
    models = ids(database)
    chosen = {"first": models["Policy 1"], "second": models["Base 1"], "instruction": "1"} | form
    assert lead.post(PAGE, data=chosen).status_code == 303
    text = lead.get(PAGE, headers=HTML).text
    [address] = re.findall(r'action="(/p/desk/chat/\d+)/say"', text)
    assert lead.post(f"{address}/say", data={"text": "<i>Why</i>?"}).status_code == 303
    return str(address)


def reply(database: Database, text: str, state: ReplyState = ReplyState.DONE) -> None:
    with database.transaction() as session:
        for n, row in enumerate(session.scalars(select(ModelReply))):
            row.text, row.tokens, row.state, row.score = f"{text} {n}", 3, state, 0.5 - n


def test_a_chat_starts_with_the_models_and_the_instruction(
    lead: TestClient, database: Database
) -> None:
    text = lead.get(PAGE, headers=HTML).text
    assert text.count("<option") == 2 + 3 + 2
    assert "Be &lt;b&gt;kind&lt;/b&gt;." in text
    begin(lead, database)
    text = lead.get(PAGE, headers=HTML).text
    assert "with Policy 1 and Base 1" in text
    assert "no running worker takes jobs from the GPU queue" in text
    assert '<meta http-equiv="refresh" content="3">' in text
    assert "&lt;i&gt;Why&lt;/i&gt;" in text


def test_responses_are_shown_escaped_with_their_scores(
    lead: TestClient, database: Database
) -> None:
    address = begin(lead, database)
    reply(database, "<script>alert(1)</script> **so**")
    text = lead.get(PAGE, headers=HTML).text
    assert "<script>alert" not in text
    assert "<strong>so</strong>" in text
    assert "score +0.50" in text
    assert "score −0.50" in text
    assert 'http-equiv="refresh"' not in text
    fragment = lead.get(f"{address}/live", headers=HTML).text
    assert "data-done" in fragment
    assert "<html" not in fragment


def test_reasoning_is_folded(lead: TestClient, database: Database) -> None:
    with database.transaction() as session:
        projects.by_slug(session, "desk").chat = {"thought_end": "</think>"}
    begin(lead, database)
    reply(database, "I wonder.</think> Because.")
    text = lead.get(PAGE, headers=HTML).text
    folded, _, after = text.partition("<summary>Reasoning</summary>")[2].partition("</details>")
    assert "I wonder." in folded
    assert "Because. 0" in after.partition("</section>")[0]


def test_the_stream_sends_the_exchange_and_ends_when_it_is_done(
    lead: TestClient, database: Database
) -> None:
    address = begin(lead, database)
    reply(database, "Because.")
    streamed = lead.get(f"{address}/events").text
    assert streamed.startswith("event: live\ndata: ")
    assert "Because. 0" in streamed
    assert streamed.rstrip().endswith("event: done\ndata:")


def test_a_person_has_no_more_streams_than_pages(
    application: Any, lead: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = begin(lead, database)
    monkeypatch.setattr(chat, "LONGEST_S", 3)
    monkeypatch.setattr(chat, "STREAMS_MOST", 1)
    with ThreadPoolExecutor() as pool:
        opened = pool.submit(lead.get, f"{address}/events")
        while not application.state.streams.total():
            time.sleep(0.01)
        refused = lead.get(f"{address}/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
        assert lead.get(f"{address}/live").status_code == 200
        assert opened.result().text.rstrip().endswith("event: done\ndata:")
    reply(database, "Because.")
    assert "Because. 0" in lead.get(f"{address}/events").text


def test_a_message_that_cannot_be_sent_is_kept_in_the_form(
    lead: TestClient, database: Database
) -> None:
    address = begin(lead, database)
    refused = lead.post(f"{address}/say", data={"text": "And?"}, headers=HTML)
    assert refused.status_code == 422
    assert "still being replied to" in refused.text
    assert ">And?</textarea>" in refused.text
    assert lead.post(f"{address}/stop").status_code == 303
    assert lead.post(f"{address}/say", data={"text": "And?"}).status_code == 303


def test_a_chat_ends_and_can_be_stopped_and_generated_again(
    lead: TestClient, database: Database
) -> None:
    address = begin(lead, database)
    reply(database, "Because.")
    assert lead.post(f"{address}/again").status_code == 303
    with database.reader() as session:
        assert {row.state for row in session.scalars(select(ModelReply))} == {"waiting"}
        assert {row.draw for row in session.scalars(select(ModelReply))} == {1}
    assert lead.post(f"{address}/end").status_code == 303
    assert "Start chat" in lead.get(PAGE, headers=HTML).text
    assert "has ended" in lead.post(f"{address}/say", data={"text": "x"}, headers=HTML).text


def test_settings_out_of_range_are_named(lead: TestClient, database: Database) -> None:
    models = ids(database)
    for form, reason in (
        ({"first": models["Policy 1"], "temperature": "9"}, "temperature"),
        ({"first": models["Policy 1"], "max_new_tokens": "4000"}, "up to 2048 tokens"),
        ({"first": models["Reward 1"]}, "it cannot chat"),
        ({"first": models["Policy 1"], "reward": models["Base 1"]}, "it cannot score responses"),
    ):
        refused = lead.post(PAGE, data=form, headers=HTML)
        assert refused.status_code == 422
        assert reason in refused.text


def test_nobody_else_reads_a_chat(lead: TestClient, sign_in: SignIn, database: Database) -> None:
    address = begin(lead, database)
    other = sign_in("other")
    with database.transaction() as session:
        users = {user.name: user for user in session.scalars(select(User))}
        project = projects.by_slug(session, "desk")
        accounts.add_member(
            session, project.id, users["other"].id, Role.LEAD, actor_id=users["lead"].id
        )
        mine = projects.create(session, name="Mine", owner=users["other"])
        chat_id = session.scalars(select(Chat)).one().id
        assert mine.slug == "mine"
    for path in (f"{address}/live", f"{address}/events", f"/api/v1/projects/desk/chats/{chat_id}"):
        assert other.get(path).status_code == 404, path
    assert other.get(f"/p/mine/chat/{chat_id}/live").status_code == 404
    assert other.post(f"{address}/say", data={"text": "x"}).status_code == 404


def test_the_api_chats(lead: TestClient, database: Database) -> None:
    models = ids(database)
    base = "/api/v1/projects/desk/chats"
    made = lead.post(base, json={"first_id": models["Policy 1"], "reward_id": models["Reward 1"]})
    assert made.status_code == 201, made.text
    chat = f"{base}/{made.json()['id']}"
    assert lead.post(f"{chat}/messages", json={"text": "Hello."}).status_code == 202
    with database.transaction() as session:
        row = session.scalars(select(ModelReply)).one()
        assert chat_replies.begin(session, row.id)
        chat_replies.write(session, row.id, "Hel", 1)
    shown = lead.get(chat).json()
    assert shown["exchanges"][0]["replies"][0]["text"] == "Hel"
    assert shown["exchanges"][0]["replies"][0]["state"] == "writing"
    assert lead.post(f"{chat}/messages", json={"text": "More."}).status_code == 409
    assert lead.post(f"{chat}/stop").status_code == 200
    assert lead.delete(chat).json()["is_open"] is False
