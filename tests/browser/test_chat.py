"""The chat page in a real browser: replies grow on screen, by keyboard or without a script."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select

from app.db import now
from app.models import Chat, ChatTurn, Checkpoint, CheckpointKind, ModelReply, Project, Role
from app.services.checkpoints import chat_replies
from app.services.people import accounts
from tests.browser.desk import LOOKS, Desk, House, fits_window, sit_down
from tests.services import sample

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("ATTUNE_TEST_SHOTS")  # a folder for people who look
LONG = "You can renew it **twice**:\n\n- at the desk\n- online, with your card\n\n" * 2


@contextmanager
def chatting(house: House, width: str = "wide", **options: Any) -> Iterator[Desk]:
    """Open the chat page for a lead of a project with models."""
    with sit_down(house, width, **options) as desk:
        slug = desk.slug("chat")
        with desk.database.transaction() as session:
            sample.make_project(session, slug=slug)
            project = session.scalars(select(Project).where(Project.slug == slug)).one()
            project.instruction = "Answer in a friendly way."
            accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
            for kind, name in (("policy", "Policy 1"), ("policy", "Policy 2"), ("reward", "R 1")):
                session.add(
                    Checkpoint(
                        project_id=project.id,
                        kind=CheckpointKind(kind),
                        name=name,
                        uri=name,
                        created_at=now(session),
                    )
                )
        desk.page.goto(f"{desk.url}/p/{slug}/chat")
        yield desk


def write(desk: Desk, text: str, *, is_done: bool = False) -> None:
    """Write on both sides, as the worker's job does."""
    with desk.database.transaction() as session:
        query = (
            select(ModelReply)
            .join(ChatTurn, ChatTurn.id == ModelReply.turn_id)
            .join(Chat, Chat.id == ChatTurn.chat_id)
            .where(Chat.user_id == desk.user_id)
        )
        for reply in session.scalars(query.order_by(ModelReply.side)).all():
            if reply.state not in {"waiting", "writing"}:
                continue
            if reply.state == "waiting":
                chat_replies.begin(session, reply.id)
            said = f"{text} Side {reply.side}."
            if is_done:
                chat_replies.finish(session, reply.id, said, 12, score=0.4 - reply.side)
            else:
                chat_replies.write(session, reply.id, said, 5)


def look(desk: Desk, name: str) -> None:
    assert fits_window(desk.page)
    desk.axe(name)
    if SHOTS:
        desk.page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_two_models_reply_on_screen_by_keyboard(house: House, width: str, scheme: str) -> None:
    with chatting(house, width, color_scheme=scheme) as desk:
        page = desk.page
        page.locator("#second").select_option(label="Policy 1")
        look(desk, f"start-{width}-{scheme}")
        page.get_by_role("button", name="Start chat").press("Enter")
        page.locator(".scripted").wait_for()
        assert page.evaluate("document.activeElement.id") == "text"
        page.keyboard.type("How do I renew a book?")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("<b>Quickly</b>, please.")
        page.keyboard.press("Enter")
        page.get_by_text("Waiting for a worker").wait_for()
        assert page.locator("#send").is_disabled()
        write(desk, "You can")
        page.get_by_text("You can Side 1.").wait_for()
        assert page.locator("#live").get_attribute("aria-busy") == "true"
        look(desk, f"writing-{width}-{scheme}")
        write(desk, LONG, is_done=True)
        page.get_by_text("score −0.60").wait_for()
        page.locator("#send:not([disabled])").wait_for()
        assert page.locator("#live").get_attribute("aria-busy") == "false"
        assert page.locator("#halt").is_hidden()
        assert page.locator(".said-by-you b").count() == 0
        look(desk, f"done-{width}-{scheme}")


def test_polling_follows_where_events_do_not_come_through(house: House) -> None:
    with chatting(house) as desk:
        desk.page.route("**/events", lambda route: route.abort())
        desk.page.get_by_role("button", name="Start chat").click()
        desk.page.locator(".scripted").wait_for()
        desk.page.locator("#text").fill("Hello.")
        desk.page.keyboard.press("Enter")
        desk.page.get_by_text("Waiting for a worker").wait_for()
        write(desk, "Hi.", is_done=True)
        desk.page.get_by_text("Hi. Side 0.").wait_for()
        desk.page.locator("#send:not([disabled])").wait_for()
        desk.problems.clear()  # the browser reports the request that was aborted


def test_it_works_without_a_script(house: House) -> None:
    with chatting(house, java_script_enabled=False) as desk:
        page = desk.page
        page.get_by_role("button", name="Start chat").click()
        page.locator("#text").fill("Hello.")
        page.locator("#send").click()
        page.get_by_text("Waiting for a worker").wait_for()
        page.locator("#halt").click()
        page.get_by_text("stopped").first.wait_for()
        page.locator("#anew").click()
        page.get_by_text("Waiting for a worker").wait_for()
        write(desk, "Hi.", is_done=True)
        page.get_by_text("Hi. Side 0.").wait_for()  # the page reloads itself
