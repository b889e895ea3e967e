"""What the labeling page promises: keys, drafts, saving, no default, dragging, accessibility."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from app.db import Database
from app.models import User
from tests.browser.desk import WIDTHS, Desk, furnish, sit_down

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"

_HANDLED = """async (kind) => {
  const { meaning } = await import("/static/label/keys.js");
  const candidates = kind === "pick" ? [{}, {}] : [{}, {}, {}, {}];
  const assignment = { kind, candidates, allow_tie: true, allow_both_bad: true };
  const arrows = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
  const keys = [..."abcdefghijklmnopqrstuvwxyz0123456789=?+-/. ", "Enter", "Backspace", "Delete",
    "Tab", "Escape", ...Object.keys(arrows)];
  const presses = keys.flatMap((key) => [false, true].flatMap((altKey) =>
    [false, true].map((ctrlKey) => ({ key, altKey, ctrlKey, target: document.body }))));
  return presses.filter((press) => meaning(press, assignment)).map(({ key, altKey, ctrlKey }) =>
    [ctrlKey && "Ctrl", altKey && "Alt", arrows[key] ?? key].filter(Boolean).join("+"));
}"""


@pytest.fixture
def desk(browser: Browser, url: str, database: Database) -> Iterator[Desk]:
    furnish(database)
    with sit_down(browser, url, database) as found:
        found.sign_in()
        yield found


@pytest.mark.parametrize("kind", ["pick", "rank"])
def test_every_shown_key_has_a_handler_and_every_handler_is_shown(desk: Desk, kind: str) -> None:
    desk.open(kind)
    desk.page.keyboard.press("h")
    listed = set(desk.page.locator("#key-list kbd").all_inner_texts())
    shown = set(desk.page.locator("kbd:visible").all_inner_texts()) - {"Esc"}
    handled = set(
        desk.page.evaluate(
            _HANDLED,
            kind,
        )
    )
    digits = set("12") if kind == "pick" else set("1234")
    assert handled - digits == listed - {"1–9"}
    assert digits <= handled
    assert shown - {"1–9"} <= handled


def test_letters_do_nothing_while_typing_and_backspace_destroys_nothing(desk: Desk) -> None:
    desk.open("pick")
    keys = desk.page.keyboard
    before = desk.text()
    keys.press("c")
    keys.type("1 2 b s u f d r z 0 =")
    assert desk.page.locator("#work .cand.on").count() == 0
    keys.press("Escape")
    keys.press("Backspace")
    assert desk.text() == before
    assert desk.page.locator("#comment").input_value() == "1 2 b s u f d r z 0 ="


def test_nothing_is_chosen_before_the_labeler_chooses(desk: Desk) -> None:
    desk.open("pick")
    assert desk.page.locator("#work [aria-pressed=true]").count() == 0
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_selector("#status >> text=Choose an answer first")
    desk.saved("pick", 0)


def test_an_untouched_order_is_asked_about_once(desk: Desk) -> None:
    desk.open("rank")
    before = desk.text()
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_selector("#untouched[open]")
    desk.page.keyboard.press("Escape")
    assert desk.text() == before
    desk.page.keyboard.press("Enter")
    desk.page.click("#untouched button[value=submit]")
    desk.page.wait_for_function("() => !document.querySelector('#untouched[open]')")
    (judgment,) = desk.saved("rank", 1)
    assert judgment.ranking is not None
    assert [judgment.ranking[one] for one in judgment.shown_order] == [1, 2, 3, 4]


def test_what_the_server_did_not_take_is_kept_and_sent_again(desk: Desk) -> None:
    desk.open("pick")
    page = desk.page
    offline = True

    def answer(route: Route) -> None:
        route.abort() if offline else route.continue_()

    page.route("**/exchange", answer)
    for key in "12":
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.wait_for_function("() => !document.querySelector('#work .cand.on')")
    page.wait_for_selector("#status >> text=2 not saved yet")
    page.wait_for_selector("#trouble >> text=kept here")
    page.reload()
    page.wait_for_selector("#status >> text=2 not saved yet")
    offline = False
    page.wait_for_selector("#status >> text=/^Saved \\d\\d:\\d\\d$/")
    assert len(desk.saved("pick", 2)) == 2
    assert page.locator("#trouble").is_hidden()


def test_a_lost_answer_does_not_double_a_judgment(desk: Desk) -> None:
    desk.open("pick")
    page = desk.page
    lost = 0

    def answer(route: Route) -> None:
        nonlocal lost
        if lost or '"submissions":[{' not in (route.request.post_data or ""):
            route.continue_()
            return
        lost += 1
        route.fetch()
        route.abort()

    page.route("**/exchange", answer)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#status >> text=/^Saved/")
    assert lost == 1
    desk.saved("pick", 1)


def test_a_draft_survives_a_closed_tab(desk: Desk) -> None:
    desk.open("rank")
    page = desk.page
    for key in "42":
        page.keyboard.press(key)
    order = page.locator("#work li").evaluate_all("(all) => all.map((one) => one.dataset.position)")
    context = page.context
    page.close()
    desk.page = context.new_page()
    desk.open("rank")
    again = desk.page.locator("#work li").evaluate_all(
        "(all) => all.map((one) => one.dataset.position)"
    )
    assert again == order
    assert desk.page.locator("#status").inner_text() == "Draft kept"


def test_an_answer_is_dragged_by_its_handle(desk: Desk) -> None:
    desk.open("rank")
    page = desk.page
    rows = page.locator("#work li")
    moved = rows.nth(2).get_attribute("data-position")
    start, end = rows.nth(2).locator(".grip").bounding_box(), rows.nth(0).bounding_box()
    assert start is not None
    assert end is not None
    page.mouse.move(start["x"] + 5, start["y"] + 5)
    page.mouse.down()
    page.mouse.move(end["x"] + 60, end["y"] + 20, steps=4)
    page.mouse.up()
    assert rows.nth(0).get_attribute("data-position") == moved
    assert page.locator("#work .rank-select").first.input_value() == "1"


def test_single_keys_can_be_switched_off(desk: Desk, database: Database) -> None:
    with database.transaction() as session:
        user = session.query(User).filter_by(email="ada@example.org").one()
        user.single_keys = False
    desk.open("pick")
    desk.page.keyboard.press("1")
    assert desk.page.locator("#work .cand.on").count() == 0
    assert desk.page.locator("kbd.single:visible").count() == 0
    desk.page.click("#choose-1")
    desk.page.keyboard.press("Control+Enter")
    desk.page.wait_for_function("() => !document.querySelector('#work .cand.on')")
    desk.saved("pick", 1)


def test_the_next_comparison_is_painted_at_once(desk: Desk) -> None:
    """The next is there before the server has answered: it was fetched ahead."""
    desk.open("pick")
    page = desk.page
    page.wait_for_function("() => performance.getEntriesByType('resource').length > 0")
    page.route("**/exchange", lambda route: None)  # never answers
    before = desk.text()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !document.querySelector('#work .cand.on')")
    assert desk.text() != before
    assert page.locator("#status").inner_text() == "Saving…"


def test_without_a_script_the_page_is_a_form(
    browser: Browser, url: str, database: Database
) -> None:
    furnish(database)
    with sit_down(browser, url, database, java_script_enabled=False) as desk:
        desk.sign_in()
        page = desk.page
        page.click("a[aria-label='Label Desk pick']")
        page.click("text=Start")
        page.check("[name=choice] >> nth=0")
        page.click("text=Submit")
        page.wait_for_selector("text=Saved.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "phone"])
def test_no_accessibility_violations_in_any_state(
    browser: Browser, url: str, database: Database, scheme: str, width: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run npm install")
    furnish(database)
    with sit_down(browser, url, database, width, color_scheme=scheme) as desk:
        desk.sign_in()
        page = desk.page
        tall = {"width": WIDTHS[width][0], "height": 2400}  # nothing half under the foot bar
        page.set_viewport_size(tall)  # type: ignore[arg-type]

        def check(state: str) -> None:
            page.evaluate(AXE.read_text())
            tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
            found = page.evaluate(
                "(tags) => axe.run({ runOnly: tags }).then((r) => r.violations.map((v) => "
                "v.id + ': ' + v.nodes.map((n) => n.target.join(' ')).join(', ')))",
                tags,
            )
            assert found == [], state

        check("home")
        for kind in ("pick", "rank"):
            desk.open(kind)
            check(f"{kind}, nothing chosen")
            page.keyboard.press("1")
            page.keyboard.press("c")
            page.keyboard.press("Escape")
            check(f"{kind}, chosen")
            for key, dialog in (("h", "guidelines"), ("s", "skip"), ("f", "flag")):
                page.keyboard.press(key)
                page.wait_for_selector(f"#{dialog}[open]")
                check(f"{kind}, {dialog}")
                page.keyboard.press("Escape")
            page.keyboard.press("r")
            check(f"{kind}, raw")
        page.goto(f"{desk.url}/p/pick/history")
        check("history")
