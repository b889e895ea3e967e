"""Planning a round in a real browser: the folded part works by keyboard and without a script."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.models import Role
from app.services.people import accounts
from tests.browser.desk import LOOKS, Desk, House, fits_window, sit_down
from tests.services.rounds.stages import make_project

pytestmark = pytest.mark.browser

SETTINGS = ".all-settings > summary"
SUMMARY = "details details:has(#server_url) > summary"
REWARDS = "details details:has(#learned_weight) > summary"


@contextmanager
def planning(
    house: House,
    width: str = "wide",
    unfolds: bool = True,
    base_model: str | None = "some/base",
    **options: Any,
) -> Iterator[Desk]:
    """Open the launch page for a lead, with all settings unfolded."""
    with sit_down(house, width, **options) as desk:
        slug = desk.slug("launch")
        with desk.database.transaction() as session:
            project = make_project(session, slug=slug)
            project.base_model = base_model
            accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
        desk.page.goto(f"{desk.url}/p/{slug}/rounds/new")
        if unfolds:
            desk.page.locator(SETTINGS).click()
        yield desk


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_a_server_is_named_by_keyboard_without_a_script_and_refused_in_place(
    house: House, width: str, scheme: str
) -> None:
    options: dict[str, Any] = {"java_script_enabled": False, "color_scheme": scheme}
    with planning(house, width, **options) as desk:
        page = desk.page
        address = page.locator("#server_url")
        assert not address.is_visible()
        page.locator(SUMMARY).focus()
        page.keyboard.press("Enter")
        assert address.is_visible()
        for _ in range(6):  # engine, processes, parts, tokens, 4 bits, address
            page.keyboard.press("Tab")
        page.keyboard.type("gpu-1:8001")
        page.keyboard.press("Tab")
        page.keyboard.type("some/model")
        page.keyboard.press("Enter")
        page.locator("#server_url-problem").wait_for()
        said = page.locator("#server_url-problem").inner_text()
        assert said == "Server url must begin with http:// or https://, not 'gpu-1:8001'."
        assert (address.input_value(), address.get_attribute("aria-invalid")) == (
            "gpu-1:8001",
            "true",
        )
        assert page.locator("#server_model").input_value() == "some/model"


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_the_folded_part_fits_and_has_no_violations(house: House, width: str, scheme: str) -> None:
    with planning(house, width, color_scheme=scheme) as desk:
        page = desk.page
        page.locator(SUMMARY).click()
        page.locator("#server_url").fill("gpu-1:8001")
        page.locator("[data-steps-here] [role=alert]").wait_for()
        page.keyboard.press("Enter")
        page.locator("#server_url-problem").wait_for()
        assert fits_window(desk.page)
        boxes = [page.locator(f"#server_url-{one}").bounding_box() for one in ("problem", "help")]
        assert boxes[0]
        assert boxes[1]
        assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]
        desk.axe(f"launch, {width}, {scheme}")
        desk.problems.clear()  # the answer was 422, which the console tells


@pytest.mark.parametrize("script", [True, False])
def test_a_wrong_number_cannot_be_folded_away_and_swallow_the_button(
    house: House, script: bool
) -> None:
    with planning(house, java_script_enabled=script) as desk:
        page = desk.page
        page.locator(SUMMARY).click()
        page.locator("#processes").fill("99")
        page.locator(SUMMARY).click()
        page.get_by_role("button", name="Launch round 1").click()
        page.locator("#processes:focus").wait_for()
        assert page.locator("#processes").is_visible()
        page.locator("#processes").fill("2")
        page.get_by_role("button", name="Launch round 1").click()
        page.get_by_text("Round 1 has started").wait_for()


@pytest.mark.parametrize("script", [True, False])
def test_without_a_base_model_the_button_is_off_and_its_reason_leads_to_the_settings(
    house: House, script: bool
) -> None:
    with planning(house, base_model=None, java_script_enabled=script) as desk:
        page = desk.page
        button = page.get_by_role("button", name="Launch round 1")
        reason = page.locator(f"#{button.get_attribute('aria-describedby')}")
        assert button.is_disabled()
        assert "hoose a base model for" in reason.inner_text()
        if script:
            page.locator("#token_budget").evaluate("input => { input.value = 1 }")
            page.locator("#temperature").fill("0.9")  # another reason, which the form can mend
            page.locator("[data-launch]:not([disabled])").wait_for()
            assert button.get_attribute("aria-describedby") is None
            page.locator("#token_budget").evaluate("input => { input.value = '' }")
            page.locator("#temperature").fill("1")
            page.locator("[data-launch][disabled]").wait_for()
        reason.get_by_role("link", name="Choose a base model").click()
        page.locator("#base_model").wait_for()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_rewards_are_added_row_by_row_by_keyboard_without_a_script(
    house: House, width: str, scheme: str
) -> None:
    options: dict[str, Any] = {"java_script_enabled": False, "color_scheme": scheme}
    with planning(house, width, **options) as desk:
        page = desk.page
        page.locator(REWARDS).focus()
        page.keyboard.press("Enter")
        page.locator("#learned_weight").fill("0")
        page.locator("#part_kind-1").select_option("reward_model")
        page.locator("#part_source-1").focus()
        page.keyboard.type("org/helpful")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.type("helpfulness")
        page.get_by_role("button", name="Add another reward").press("Enter")
        page.locator("#part_source-2").wait_for()
        assert page.locator("#part_source-1").input_value() == "org/helpful"
        assert page.locator("#part_kind-1").input_value() == "reward_model"
        assert page.locator("#part_source-3").count() == 0
        assert (
            "labelers judge only the evaluation" in page.locator("[data-steps-here]").inner_text()
        )
        assert fits_window(page)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_the_rewards_fit_and_have_no_violations(house: House, width: str, scheme: str) -> None:
    with planning(house, width, color_scheme=scheme) as desk:
        page = desk.page
        page.locator(REWARDS).click()
        page.locator("#part_source-1").fill("Reward 7")
        page.locator("#part_name-1").fill("a/b")
        refused = page.locator("[data-steps-here] [role=alert]")
        refused.filter(has_text="The name of a reward must be at most 30 letters").wait_for()
        page.get_by_role("button", name="Add another reward").click()
        page.locator("#part_source-2").wait_for()
        assert fits_window(desk.page)
        desk.axe(f"rewards, {width}, {scheme}")


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_another_choice_fills_in_its_settings_and_keeps_what_was_changed(
    house: House, width: str, scheme: str
) -> None:
    with planning(house, width, unfolds=False, color_scheme=scheme) as desk:
        page = desk.page
        assert not page.locator("#candidates").is_visible()
        assert page.get_by_role("radio", name="Balanced").is_checked()
        desk.axe(f"choices, {width}, {scheme}")
        assert fits_window(desk.page)
        page.locator(SETTINGS).click()
        page.locator("#temperature").fill("0.8")
        page.get_by_role("radio", name="Thorough").check()
        summary = page.locator("[data-steps-here]")
        summary.get_by_text("Sampling temperature 0.8 instead of 1").wait_for()
        assert page.locator("#candidates").input_value() == "8"
        assert page.locator("[name=filled_from]").input_value() == "thorough"
        assert page.locator("#temperature").input_value() == "0.8"
        page.locator("#candidates").fill("6")
        summary.get_by_text("Candidates 6 instead of 8").wait_for()
