"""Automatic rounds in a real browser: set, paused and resumed without a script, on a phone."""

import pytest
from sqlalchemy import select

from app.models import Project, Role
from app.services.people import accounts
from tests.browser.desk import House, fits_window, sit_down
from tests.services import sample

pytestmark = pytest.mark.browser


def test_they_are_turned_on_paused_and_resumed_without_a_script(house: House) -> None:
    with sit_down(house, "phone", java_script_enabled=False, color_scheme="dark") as desk:
        slug = desk.slug("automatic")
        with desk.database.transaction() as session:
            sample.make_project(session, slug=slug)
            project = session.scalars(select(Project).where(Project.slug == slug)).one()
            accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
        page = desk.page
        page.goto(f"{desk.url}/p/{slug}/settings")
        page.get_by_role("region", name="Automatic rounds").get_by_role("link").click()
        page.get_by_label("Start the next round automatically").check()
        page.get_by_role("button", name="Save").click()
        assert page.locator(".tag", has_text="On").is_visible()
        page.get_by_label("Reason").fill("new guidelines")
        page.get_by_role("button", name="Pause").click()
        assert page.get_by_text("paused automatic rounds: new guidelines").is_visible()
        assert fits_window(page)
        page.get_by_role("button", name="Resume").click()
        assert page.get_by_role("button", name="Pause").is_visible()
