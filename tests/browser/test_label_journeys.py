"""A labeler's whole way: by keyboard alone, by click alone, at 1280 and at 380 px."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from app.db import Database
from tests.browser.desk import Desk, furnish, sit_down

pytestmark = pytest.mark.browser


@pytest.fixture(params=["wide", "phone"])
def desk(
    request: pytest.FixtureRequest, browser: Browser, url: str, database: Database
) -> Iterator[Desk]:
    furnish(database)
    with sit_down(browser, url, database, request.param) as found:
        yield found
    assert found.problems == []


def _fits(desk: Desk) -> None:
    """Nothing is wider than the window, and the foot bar is one row."""
    page = desk.page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("#foot").evaluate("(foot) => foot.offsetHeight") < 80


def test_ten_picks_and_ten_rankings_by_keyboard_alone(desk: Desk) -> None:
    page, keys = desk.page, desk.page.keyboard
    desk.sign_in()
    desk.open("pick")
    keys.press("h")
    page.wait_for_selector("#guidelines[open] >> text=Be kind.")
    keys.press("Escape")
    _fits(desk)
    for number in range(10):
        before = desk.text()
        keys.press("12"[number % 2])
        keys.press("ArrowLeft")
        keys.press("Enter")
        page.wait_for_function("() => !document.querySelector('#work .cand.on')")
        assert desk.text() != before
    picks = desk.saved("pick", 10)
    assert {pick.preferred for pick in picks} == {"a", "b"}
    assert all(pick.strength for pick in picks)

    keys.press("u")
    page.wait_for_selector("#work .cand.on")
    undone = desk.text()
    keys.press("2")
    keys.press("c")
    keys.type("because of u and s")
    keys.press("Escape")
    page.reload()
    desk.ready()
    assert desk.text() == undone
    assert page.locator("#choose-2").get_attribute("aria-pressed") == "true"
    assert page.locator("#comment").input_value() == "because of u and s"
    keys.press("Enter")
    page.wait_for_function("() => !document.querySelector('#work .cand.on')")
    assert desk.saved("pick", 10)[-1].comment == "because of u and s"

    desk.open("rank")
    _fits(desk)
    for _ in range(10):
        before = desk.text()
        for key in "314":
            keys.press(key)
        keys.press("=")
        keys.press("Alt+ArrowUp")
        keys.press("Enter")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.rank-select')].every((one) => !one.value)"
        )
        assert desk.text() != before
    for judgment in desk.saved("rank", 10):
        assert judgment.ranking is not None
        place = [judgment.ranking[position] for position in judgment.shown_order]
        assert sorted(judgment.ranking) in ([1, 2, 2, 4], [1, 1, 3, 4], [1, 2, 3, 4])
        assert place[1] == 4  # what nobody named comes last


def test_ten_picks_and_ten_rankings_by_click_alone(desk: Desk) -> None:
    page = desk.page
    desk.sign_in()
    page.click("a[aria-label='Label Desk pick']")
    desk.ready()
    page.click("#open-guidelines")
    page.wait_for_selector("#guidelines[open] >> text=Be kind.")
    page.click("#guidelines [data-close]")
    for number in range(10):
        before = desk.text()
        page.click(f"#choose-{1 + number % 2}")
        page.click("#work .step >> nth=0")
        page.click("#submit")
        page.wait_for_function("() => !document.querySelector('#work .step.on')")
        assert desk.text() != before
    assert all(pick.strength for pick in desk.saved("pick", 10))

    page.click("#foot [data-do=undo]")
    page.wait_for_selector("#work .cand.on")
    page.click("#work .step >> text=About the same")
    page.click("#submit")
    page.wait_for_function("() => !document.querySelector('#work .step.on')")
    assert desk.saved("pick", 10)[-1].preferred == "tie"

    page.goto(f"{desk.url}/")
    page.click("a[aria-label='Label Desk rank']")
    desk.ready()
    for number in range(10):
        before = desk.text()
        first = page.locator("#work li").nth(3).get_attribute("data-position")
        if number % 2:
            page.select_option(f"#rank-{first}", "1")
        else:
            for _ in range(3):
                page.click(f"#up-{first}")
        page.click("#submit")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.rank-select')].every((one) => !one.value)"
        )
        assert desk.text() != before
    for judgment in desk.saved("rank", 10):
        assert judgment.ranking is not None
        place = [judgment.ranking[position] for position in judgment.shown_order]
        assert place == [2, 3, 4, 1]


def test_skip_flag_and_the_menu_by_click(desk: Desk) -> None:
    page = desk.page
    desk.sign_in()
    desk.open("pick")
    before = desk.text()
    page.click("#foot [data-do=skip]")
    page.click("#skip >> text=I cannot judge this subject")
    page.click("#skip button[value=skip]")
    page.wait_for_function(
        "(before) => document.querySelector('#work').innerText !== before", arg=""
    )
    assert desk.text() != before
    if page.locator("#foot .menu > summary").is_visible():
        page.click("#foot .menu > summary")
        page.click("#foot .menu [data-do=flag]")
    else:
        page.click("#foot .wide-only [data-do=flag]")
    page.click("#flag >> text=Personal data")
    page.click("#flag button[value=flag]")
    page.wait_for_selector("#work >> text=Flag: Personal data")
    page.click("#choose-1")
    page.click("#submit")
    page.wait_for_function("() => !document.querySelector('#work .cand.on')")
    (judgment,) = desk.saved("pick", 1)
    assert judgment.flags == ["personal_data"]
