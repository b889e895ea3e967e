"""A round that waits at a check, in a real browser: readable, reachable, and one click to go on.

The climb over finished rounds is looked at on the same walk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.domain.gates import table
from app.domain.gates.candidates import EndingFigures, PreflightFigures
from app.domain.states import JobState
from app.models import Role
from app.services.people import accounts
from app.services.rounds import round_progress, rounds
from tests.browser.desk import LOOKS, Desk, House, fits_window, sit_down
from tests.services.rounds import climbed
from tests.services.rounds.stages import PLAN, make_project

pytestmark = pytest.mark.browser

WASTE = PreflightFigures(330, 63, 70, 290, 4, 1320, 900, 20, 0.62, has_spares=False)
ENDLESS = EndingFigures(1320, 3, 128, 0, has_sft=False)
RESULT = {
    "gates": {"endings": table.to_json(ENDLESS), "preflight": table.to_json(WASTE)},
    "held_back": True,
}


@contextmanager
def waiting(house: House, width: str = "wide", **options: Any) -> Iterator[Desk]:
    """Open a round that waits at two checks, for a lead."""
    with sit_down(house, width, **options) as desk:
        with desk.database.transaction() as session:
            project = make_project(session, slug=desk.slug("checks"))
            accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
            round_ = rounds.launch(session, project, PLAN, desk.user_id)
            (job,) = round_progress.jobs_of(session, round_.id)  # others are left to other tests
            job.state, job.result = JobState.SUCCEEDED, RESULT
            rounds.advance(session, round_.id)
        desk.page.goto(f"{desk.url}/p/{desk.slug('checks')}/rounds/1")
        yield desk
        with desk.database.transaction() as session:
            rounds.cancel(session, round_, reason="", actor_id=None)
        assert desk.problems == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_a_waiting_round_fits_and_has_no_violations(house: House, width: str, scheme: str) -> None:
    with waiting(house, width, color_scheme=scheme) as desk:
        page = desk.page
        page.locator("#check-preflight summary").click()
        desk.axe("a waiting round")
        result = page.locator("#checks td .tag").first.bounding_box()
        assert result
        width_of_page = page.evaluate("document.documentElement.clientWidth")
        assert result["x"] + result["width"] <= width_of_page
        assert fits_window(page)
        page.goto(f"{desk.url}/p/{desk.slug('checks')}")
        desk.axe("the overview of a waiting round")
        assert fits_window(page)
        page.goto(f"{desk.url}/p/{desk.slug('checks')}/rounds/new")
        page.get_by_text("All settings").click()
        page.get_by_text("Checks between stages").click()
        desk.axe("the policies of the checks")
        assert fits_window(page)
        _see_the_climb(desk)


def _see_the_climb(desk: Desk) -> None:
    """Look at rounds that are over, on the overview and on a page of their own."""
    page = desk.page
    with desk.database.transaction() as session:
        project = make_project(session, slug=desk.slug("climb"))
        accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
        climbed.three_rounds(session, project)
    page.goto(f"{desk.url}/p/{desk.slug('climb')}")
    page.get_by_text("View as table").click()
    assert page.get_by_role("region", name="The climb as a table").is_visible()
    desk.axe("the climb on the overview")
    assert fits_window(page)
    page.get_by_role("link", name="The climb in full, with downloads").click()
    desk.axe("the climb")
    assert fits_window(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="PNG").click()
    assert download.value.suggested_filename == f"{desk.slug('climb')}-climb.png"
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_checks_are_overridden_and_remedied_by_keyboard_without_a_script(house: House) -> None:
    with waiting(house, java_script_enabled=False) as desk:
        page = desk.page
        page.locator("#check-endings summary").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.type("They end well enough.")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_text("The check is overridden").wait_for()
        assert page.locator("#check-endings").count() == 0
        assert "They end well enough." in page.locator("#checks").inner_text()
        page.locator("#check-preflight button >> nth=0").focus()
        page.keyboard.press("Enter")
        page.get_by_text("The plan has been changed").wait_for()
        assert "plan changed" in page.locator("#checks").inner_text()
