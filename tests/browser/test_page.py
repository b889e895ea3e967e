"""What the labeling page promises: keys, drafts, saving, no default, dragging, undo."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect
from sqlalchemy import select

from app.models import Project, User
from tests.browser.desk import KINDS, Desk, House, sit_down

pytestmark = pytest.mark.browser

_HANDLED = """async () => {
  const { meaning } = await import("/static/label/keys.js");
  const assignment = JSON.parse(document.getElementById("label").dataset.page).assignment;
  const arrows = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
  const keys = [..."abcdefghijklmnopqrstuvwxyz0123456789=?+-/. ", "Enter", "Backspace", "Delete",
    "Tab", "Escape", ...Object.keys(arrows)];
  const presses = keys.flatMap((key) => [false, true].flatMap((altKey) =>
    [false, true].map((ctrlKey) => ({ key, altKey, ctrlKey, target: document.body }))));
  return presses.filter((press) => meaning(press, assignment)).map(({ key, altKey, ctrlKey }) =>
    [ctrlKey && "Ctrl", altKey && "Alt", arrows[key] ?? key].filter(Boolean).join("+"));
}"""
_CHOSEN = "#work [aria-pressed=true]:not(.tool), #work :checked:not(option[value=''])"
SAVED = re.compile(r"^Saved \d\d:\d\d$")


@pytest.fixture
def desk(house: House) -> Iterator[Desk]:
    """Give a labeler at a wide desk."""
    with sit_down(house) as found:
        yield found


def _digits(keys: set[str]) -> set[str]:
    """Return keys with ranges such as 1–4 written out."""
    ranges = {key for key in keys if re.fullmatch(r"\d–\d", key)}
    digits = {str(one) for key in ranges for one in range(int(key[0]), int(key[2]) + 1)}
    return keys - ranges | digits


@pytest.mark.parametrize("kind", KINDS)
def test_every_shown_key_has_a_handler_and_every_handler_is_shown(desk: Desk, kind: str) -> None:
    desk.furnish(kind, comparisons=1)
    desk.open(kind)  # its assignment is claimed by the script; open again to find it in the page
    desk.open(kind)
    page = desk.page
    if kind in {"write", "edit"}:
        page.keyboard.press("Escape")
    page.keyboard.press("h")
    listed = _digits(set(page.locator("#key-list kbd").all_inner_texts()))
    shown = _digits(set(page.locator("kbd:visible").all_inner_texts())) - {"Esc"}
    handled = set(page.evaluate(_HANDLED))
    assert handled == listed
    assert shown <= handled
    for key in ("Backspace", "Delete"):
        assert not any(key in one for one in handled)


def test_nothing_is_chosen_before_the_labeler_chooses(desk: Desk) -> None:
    desk.furnish(*KINDS)
    for kind in KINDS:
        desk.open(kind)
        _nothing_is_chosen(desk, kind)


def _nothing_is_chosen(desk: Desk, kind: str) -> None:
    page = desk.page
    assert page.locator(_CHOSEN).count() == 0
    page.keyboard.press("Control+Enter")
    if kind == "rank":
        page.click("#untouched [data-close]")
    else:
        expect(page.locator("#status.warn")).to_have_text(re.compile("first|missing"))
    desk.saved(kind, 0)


def test_letters_do_nothing_while_typing_and_backspace_destroys_nothing(desk: Desk) -> None:
    desk.furnish("pick", "write")
    desk.open("pick")
    keys = desk.page.keyboard
    before = desk.text()
    keys.press("c")
    keys.type("1 2 b s u f d r z 0 =")
    assert desk.page.locator(_CHOSEN).count() == 0
    keys.press("Escape")
    keys.press("Backspace")
    keys.press("Delete")
    assert desk.text() == before
    assert desk.page.locator("#comment").input_value() == "1 2 b s u f d r z 0 ="
    desk.open("write")
    keys.type("usfcdrz")
    assert desk.page.locator("#answer-text").input_value() == "usfcdrz"
    assert not desk.page.locator("dialog[open]").count()


def test_keys_work_on_keyboards_with_other_letters(desk: Desk) -> None:
    """A Hebrew keyboard gives ס where C is, and a French one gives é where 2 is."""
    desk.furnish("pick")
    desk.open("pick")
    press = """([key, code]) => document.body.dispatchEvent(
      new KeyboardEvent("keydown", { key, code, bubbles: true }))"""
    desk.page.evaluate(press, ["é", "Digit2"])
    assert desk.page.locator("#choose-2").get_attribute("aria-pressed") == "true"
    desk.page.evaluate(press, ["ב", "KeyC"])
    expect(desk.page.locator("#comment")).to_be_focused()


def test_an_untouched_order_is_asked_about_once(desk: Desk) -> None:
    desk.furnish("rank")
    desk.open("rank")
    before = desk.prompt()
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_selector("#untouched[open]")
    desk.page.keyboard.press("Escape")
    assert desk.prompt() == before
    for is_open in (True, False, True):  # however often it is pressed, Enter alone submits nothing
        desk.page.keyboard.press("Enter")
        assert desk.page.locator("#untouched[open]").count() == is_open
    # The event of a closing comes later, here once the dialog is open again.
    desk.page.evaluate("""() => {
      document.getElementById("untouched").close();
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    }""")
    assert desk.page.locator("#untouched[open]").count() == 1
    assert desk.prompt() == before
    desk.page.click("#untouched button[value=submit]")
    desk.next(before)
    (judgment,) = desk.saved("rank", 1)
    assert judgment.ranking is not None
    assert [judgment.ranking[one] for one in judgment.shown_order] == [1, 2, 3, 4]


def test_what_the_server_did_not_take_is_kept_and_sent_again(desk: Desk) -> None:
    desk.furnish("pick")
    desk.open("pick")
    page = desk.page
    offline = True

    def answer(route: Route) -> None:
        route.abort() if offline else route.continue_()

    page.route("**/exchange", answer)
    for key in "12":
        before = desk.prompt()
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        desk.next(before)
    page.wait_for_selector("#status >> text=2 not saved yet")
    page.wait_for_selector("#trouble >> text=kept here")
    page.reload()
    page.wait_for_selector("#status >> text=2 not saved yet")
    offline = False
    expect(page.locator("#status")).to_have_text(SAVED)
    assert len(desk.saved("pick", 2)) == 2
    assert page.locator("#trouble").is_hidden()


def test_a_lost_answer_does_not_double_a_judgment(desk: Desk) -> None:
    desk.furnish("pick")
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
    desk.saved("pick", 1)
    expect(page.locator("#status")).to_have_text(SAVED)
    assert lost == 1


def test_a_judgment_records_the_instruction_on_screen(desk: Desk) -> None:
    desk.furnish("pick", instruction="Be brief.")
    desk.open("pick")
    assert "Be brief." in desk.prompt()
    with desk.database.transaction() as session:
        project = session.scalars(select(Project).where(Project.slug == desk.slug("pick"))).one()
        project.instruction, project.instruction_version = "Be kind.", 2
    desk.page.keyboard.press("1")
    desk.page.keyboard.press("Enter")
    assert [row.instruction_version for row in desk.saved("pick", 1)] == [1]


def test_a_browser_that_stores_nothing_loses_no_judgment(desk: Desk) -> None:
    desk.furnish("pick")
    desk.page.add_init_script(
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }"
    )
    desk.open("pick")
    before = desk.prompt()
    desk.page.keyboard.press("1")
    expect(desk.page.locator("#status")).to_have_text(re.compile("^Not saved"))
    desk.page.keyboard.press("Enter")
    desk.next(before)
    expect(desk.page.locator("#status")).to_have_text(SAVED)
    desk.saved("pick", 1)


def test_a_draft_survives_a_closed_tab(desk: Desk) -> None:
    desk.furnish(*KINDS)
    for kind in KINDS:
        desk.open(kind)
        _draft_survives(desk, kind)


def _draft_survives(desk: Desk, kind: str) -> None:
    page = desk.page
    drawn = "#work .pair, #work .pile, #work .ranks, #work .verdict, #work .writing"
    presses = {"pick": "2", "rank": "42", "rate": "45", "thumbs": "24"}
    for key in presses.get(kind, "My text"):
        page.keyboard.press(key)
    looks = [page.locator(drawn).all_inner_texts(), page.locator(_CHOSEN).count()]
    written = page.locator("#answer-text").all()
    texts = [one.input_value() for one in written]
    context = page.context
    page.close()
    desk.page = context.new_page()
    desk.open(kind)
    page = desk.page
    assert [page.locator(drawn).all_inner_texts(), page.locator(_CHOSEN).count()] == looks
    assert [one.input_value() for one in page.locator("#answer-text").all()] == texts
    assert page.locator("#status").inner_text() == "Draft saved"


def test_ten_judgments_are_undone_one_by_one_and_no_more(desk: Desk) -> None:
    desk.furnish("pick", comparisons=12)
    desk.open("pick")
    page = desk.page
    seen = []
    for number in range(11):
        seen.append(desk.prompt())
        page.keyboard.press("12"[number % 2])
        page.keyboard.press("Enter")
        desk.next(seen[-1])
    desk.saved("pick", 11)
    for number in range(10):
        before = desk.prompt()
        page.keyboard.press("u")
        desk.next(before)
        assert desk.prompt() == seen[10 - number]
        chosen = page.locator("#work .choose[aria-pressed=true]").get_attribute("id")
        assert chosen == f"choose-{1 + (10 - number) % 2}"
    page.keyboard.press("u")
    expect(page.locator("#status")).to_have_text(re.compile("at most 10 judgments can be undone"))
    assert desk.prompt() == seen[1]
    desk.saved("pick", 1)


def test_an_answer_is_dragged_by_its_handle(desk: Desk) -> None:
    desk.furnish("rank")
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


def test_a_line_shows_where_a_dragged_answer_would_go_and_escape_cancels(desk: Desk) -> None:
    desk.furnish("rank")
    desk.open("rank")
    page = desk.page
    rows = page.locator("#work li.cand")
    order = [row.get_attribute("data-position") for row in rows.all()]
    line = page.locator("#work .drop-line")
    start = rows.nth(2).locator(".grip").bounding_box()
    first, second = rows.nth(0).bounding_box(), rows.nth(1).bounding_box()
    assert start is not None
    assert first is not None
    assert second is not None
    page.mouse.move(start["x"] + 5, start["y"] + 5)
    page.mouse.down()
    assert line.is_hidden()
    page.mouse.move(first["x"] + 60, second["y"] + 10, steps=4)
    place = line.bounding_box()
    assert place is not None
    assert first["y"] + first["height"] <= place["y"] <= second["y"]  # between the two
    assert place["width"] == pytest.approx(first["width"])
    dragged = rows.nth(2).bounding_box()
    assert dragged is not None
    assert dragged["y"] < second["y"] + second["height"], "it moves with the pointer"
    page.keyboard.press("Escape")
    assert line.count() == 0
    page.mouse.up()
    assert [row.get_attribute("data-position") for row in rows.all()] == order
    assert rows.nth(2).evaluate("(row) => row.style.transform") == ""
    assert page.locator(_CHOSEN).count() == 0
    desk.saved("rank", 0)


def test_single_keys_can_be_switched_off(desk: Desk) -> None:
    desk.furnish(*KINDS)
    with desk.database.transaction() as session:
        session.get_one(User, desk.user_id).single_keys = False
    for kind in KINDS:
        desk.open(kind)
        _single_keys_do_nothing(desk, kind)


def _single_keys_do_nothing(desk: Desk, kind: str) -> None:
    page = desk.page
    if kind in {"write", "edit"}:
        page.keyboard.press("Escape")
    for key in "12345usfchdrzlbeo=0":
        page.keyboard.press(key)
    assert page.locator(_CHOSEN).count() == 0
    assert not page.locator("dialog[open]").count()
    assert page.locator("kbd.single:visible").count() == 0
    if kind == "pick":
        before = desk.prompt()
        page.click("#choose-1")
        page.keyboard.press("Control+Enter")
        desk.next(before)
        desk.saved("pick", 1)


def test_after_a_click_enter_goes_on_meaning_submit(desk: Desk) -> None:
    desk.furnish("rate")
    desk.open("rate")
    before = desk.prompt()
    for at in range(4):
        desk.page.click(f".rating[data-place='{at}'] .point >> nth=2")
    desk.page.keyboard.press("Enter")
    desk.next(before)
    desk.saved("rate", 1)


def test_enter_on_a_focused_control_is_the_controls(desk: Desk) -> None:
    desk.furnish("pick")
    desk.open("pick")
    desk.page.keyboard.press("1")
    desk.page.locator("#choose-2").focus()
    desk.page.keyboard.press("Enter")
    assert desk.page.locator("#choose-2").get_attribute("aria-pressed") == "true"
    desk.saved("pick", 0)


def test_the_next_comparison_is_painted_at_once(desk: Desk) -> None:
    """The next is there before the server has answered: it was fetched ahead."""
    desk.furnish("pick")
    desk.open("pick")
    page = desk.page
    page.route("**/exchange", lambda route: None)  # never answers
    before = desk.prompt()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    desk.next(before)
    assert page.locator("#status").inner_text() == "Saving…"
