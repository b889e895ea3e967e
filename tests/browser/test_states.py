"""Every further state of the page: dialogs, views, the bar and its menus, history, sign-in.

The states right after opening and after answering are looked at on the journeys.
"""

import pytest

from app.services.people import accounts
from tests.browser import bench_page
from tests.browser.desk import KINDS, WIDTHS, Desk, House, fits_window, sit_down
from tests.conftest import PASSWORD

pytestmark = pytest.mark.browser

WEIGHT_MOST = 60_000  # bytes of scripts and styles, compressed


@pytest.mark.parametrize(
    ("width", "scheme", "hebrew"),
    [("wide", "light", True), ("phone", "dark", False), ("narrow", "light", False)],
)
def test_no_violations_in_any_further_state(
    house: House, width: str, scheme: str, hebrew: bool
) -> None:
    with sit_down(house, width, color_scheme=scheme) as desk:
        desk.furnish(*KINDS, hebrew=hebrew, comparisons=1)
        page = desk.page
        page.set_viewport_size({"width": WIDTHS[width][0], "height": 2400})
        for kind in KINDS:
            desk.open(kind)
            page.keyboard.press("Escape")
            _dialogs(desk, kind, ["guidelines", "skip", "flag"] if kind == "pick" else [])
            for keys in ("ld", "rb"):
                for key in keys:
                    page.keyboard.press(key)
                desk.axe(f"{kind} after {keys}")
        page.click("header .menu > summary")
        desk.axe("the account menu")
        assert fits_window(page)
        assert desk.problems == []


def _dialogs(desk: Desk, kind: str, names: list[str]) -> None:
    for name in names:
        desk.page.keyboard.press({"guidelines": "h", "skip": "s", "flag": "f"}[name])
        desk.page.wait_for_selector(f"#{name}[open]")
        desk.axe(f"{kind}, {name}")
        desk.page.keyboard.press("Escape")


def test_skip_and_flag_by_click_and_history_changes_every_kind(house: House) -> None:
    with sit_down(house, "phone") as desk:
        desk.furnish(*KINDS, comparisons=2)
        page = desk.page
        for kind in KINDS:
            desk.open(kind)
            _judge_with_flag(desk, kind)
            desk.saved(kind, 1)
            page.goto(f"{desk.url}/p/{desk.slug(kind)}/history")
            desk.axe(f"{kind}, history")
            page.click("text=Review or change")
            desk.axe(f"{kind}, history, one")
            assert fits_window(page)
            _change(desk, kind)
            page.click("text=Save the change")
            page.wait_for_selector("text=Your change is saved.")
            (judgment,) = desk.current(kind)
            assert judgment.revision == 2
            assert judgment.flags == ["personal_data"]
        assert desk.problems == []


def _judge_with_flag(desk: Desk, kind: str) -> None:
    page = desk.page
    before = desk.prompt()
    page.click("#foot [data-do=skip]")
    page.click("#skip >> text=I cannot judge this subject")
    page.click("#skip button[value=skip]")
    desk.next(before)
    page.click("#foot .menu > summary")
    page.click("#foot .menu [data-do=flag]")
    page.click("#flag >> text=Personal data")
    page.click("#flag button[value=flag]")
    page.wait_for_selector("#work >> text=Flag: Personal data")
    for key in {"pick": "1", "rank": "1234", "rate": "1234", "thumbs": "1"}.get(kind, ""):
        page.keyboard.press(key)
    if kind in {"write", "edit"}:
        page.fill("#answer-text", "A first version.")
    page.click("#submit")
    page.wait_for_selector("#work .empty")


def _change(desk: Desk, kind: str) -> None:
    page = desk.page
    if kind == "pick":
        page.check("[name=choice][value=tie]")
    elif kind in {"rank", "rate"}:
        page.locator(f"[name={'ranks' if kind == 'rank' else 'ratings'}]").first.select_option(
            index=2
        )
    elif kind == "thumbs":
        page.check("[name=thumb][value=down]")
    else:
        page.fill("[name=text]", "A second version.")


def test_signing_in_and_reaching_a_comparison_by_keyboard_alone(house: House) -> None:
    with sit_down(house) as desk:
        desk.furnish("pick")
        page, keys = desk.page, desk.page.keyboard
        page.context.clear_cookies()
        with desk.database.transaction() as session:
            email = f"{desk.prefix}-keys@example.org"
            user = accounts.create_user(session, email=email, name="Bo", password=PASSWORD)
            desk.user_id = user.id
        desk.furnish("thumbs")
        page.goto(f"{desk.url}/sign-in")
        page.locator("[name=email]").focus()
        keys.type(email)
        keys.press("Tab")
        keys.type(PASSWORD)
        keys.press("Enter")
        page.wait_for_url(f"{desk.url}/")
        page.locator("a[aria-label='Label Desk thumbs']").focus()
        keys.press("Enter")
        desk.ready()
        before = desk.prompt()
        keys.press("1")
        keys.press("Enter")
        desk.next(before)
        desk.saved("thumbs", 1)


def test_the_page_is_light() -> None:
    assert bench_page.weight() <= WEIGHT_MOST
