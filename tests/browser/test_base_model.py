"""Choosing a wrong and a right base model in a real browser, by keyboard, while a worker checks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.models import Project, Role
from app.services.people import accounts
from tests.browser.desk import LOOKS, Desk, House, fits_window, sit_down
from tests.services import sample
from tests.worker.runs import small

pytestmark = pytest.mark.browser


@contextmanager
def choosing(house: House, width: str, **options: Any) -> Iterator[Desk]:
    """Open the settings for a lead."""
    with sit_down(house, width, **options) as desk:
        slug = desk.slug("base")
        with desk.database.transaction() as session:
            sample.make_project(session, slug=slug)
            project = session.scalars(select(Project).where(Project.slug == slug)).one()
            accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
        desk.page.goto(f"{desk.url}/p/{slug}/settings")
        yield desk


def choose(desk: Desk, name: str) -> None:
    """Type a name and send the form, by keyboard."""
    field = desk.page.locator("#base_model")
    field.focus()
    desk.page.keyboard.press("Control+A")
    desk.page.keyboard.type(name)
    desk.page.keyboard.press("Enter")
    desk.page.locator("#base [role=status]").wait_for()


def is_tidy(desk: Desk, name: str) -> None:
    """Nothing is wider than the window, and axe finds nothing."""
    if folder := os.environ.get("TEST_SHOTS"):
        desk.page.screenshot(path=f"{folder}/{name}.png", full_page=True)
    assert fits_window(desk.page)
    desk.axe(name)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_a_wrong_name_is_told_in_place_and_a_right_one_becomes_ready(
    house: House, tmp_path: Path, width: str, scheme: str
) -> None:
    right = str(small.save_tiny_llama(tmp_path / "tiny-llama"))
    with choosing(house, width, color_scheme=scheme) as desk:
        page = desk.page
        choose(desk, str(tmp_path / "mistyped"))
        is_tidy(desk, f"checking-{width}-{scheme}")
        small.run_jobs(desk.database, tmp_path)
        refusal = page.locator("#base [role=alert]")
        refusal.wait_for()  # the page refreshes itself
        assert f"there is no folder {tmp_path / 'mistyped'}" in refusal.inner_text()
        is_tidy(desk, f"refused-{width}-{scheme}")
        page.goto(f"{desk.url}/p/{desk.slug('base')}")
        is_tidy(desk, f"overview-{width}-{scheme}")
        page.get_by_role("link", name="Choose a base model").press("Enter")
        page.wait_for_url("**/settings#base_model")
        choose(desk, right)
        small.run_jobs(desk.database, tmp_path)
        page.locator("#base .tag.good").wait_for()
        assert "llama (LlamaForCausalLM)" in page.locator("#base").inner_text()
        is_tidy(desk, f"ready-{width}-{scheme}")
        assert desk.problems == []


def test_all_of_it_works_without_a_script(house: House, tmp_path: Path) -> None:
    with choosing(house, "wide", java_script_enabled=False) as desk:
        choose(desk, str(tmp_path / "mistyped"))
        small.run_jobs(desk.database, tmp_path)
        desk.page.reload()
        assert "there is no folder" in desk.page.locator("#base [role=alert]").inner_text()
        desk.page.get_by_role("button", name="Check again").press("Enter")
        desk.page.locator("#base [role=status]").wait_for()
