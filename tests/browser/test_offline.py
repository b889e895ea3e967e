"""Judging without a connection, and the rules before and between comparisons."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import select, update

from app.models import Membership, Project
from app.services.project import projects
from app.services.project.projects import GuidelinesText
from tests.browser.desk import Desk, House, sit_down
from tests.browser.test_page import SAVED

pytestmark = pytest.mark.browser

_RECORDS = """new MutationObserver(() => {
  const id = document.querySelector("#work .prompt")?.dataset.key.split(" ")[0];
  if (id) (window.__drawn ??= new Set()).add(id);
}).observe(document, { childList: true, subtree: true })"""
"""Notes in the page which assignments were drawn."""
_HALF_A_PAIR = r"""(area) => {
  area.value = "x\ud83d y";
  area.dispatchEvent(new Event("input", { bubbles: true }));
}"""
"""Enters a text that no UTF-8 can hold, as it may come out of a clipboard."""


@pytest.fixture
def desk(house: House) -> Iterator[Desk]:
    """Give a labeler whose queue is deep, so that comparisons are fetched ahead."""
    with sit_down(house) as found:
        yield found


def _deep(desk: Desk) -> int:
    """Open a queue that lets comparisons be fetched ahead; return how many are ready."""
    desk.furnish("pick", comparisons=80, median_active_ms=20_000)
    desk.open("pick")
    ready = desk.page.locator("#ready")
    expect(ready).to_contain_text(re.compile("[6-9] ready"))
    desk.page.wait_for_load_state("networkidle")
    return int(re.sub(r"\D", "", ready.inner_text()))


def _judge(desk: Desk, count: int) -> list[str]:
    """Judge so many comparisons; return the assignments."""
    shown = []
    for number in range(count):
        before = desk.prompt()
        key = desk.page.locator("#work .prompt").get_attribute("data-key")
        assert key is not None
        shown.append(key.split()[0])
        desk.page.keyboard.press("12"[number % 2])
        desk.page.keyboard.press("Enter")
        desk.next(before)
    return shown


def test_five_judged_without_a_connection_are_stored_once_each(desk: Desk) -> None:
    ready = _deep(desk) + 1 - 5  # and the one on screen
    page = desk.page
    page.context.set_offline(True)
    judged = _judge(desk, 5)
    expect(page.locator("#trouble")).to_contain_text("5 wait to be sent")
    expect(page.locator("#trouble")).to_contain_text(f"You can continue with {ready} comparisons")
    expect(page.locator("#status")).to_have_text(f"5 not saved yet · {ready} ready")
    desk.saved("pick", 0)
    page.context.set_offline(False)
    expect(page.locator("#status")).to_have_text(SAVED, timeout=20_000)
    rows = desk.saved("pick", 5)
    assert len(set(judged)) == 5
    assert len({row.comparison_id for row in rows}) == 5
    assert {row.revision for row in rows} == {1}
    assert page.locator("#trouble").is_hidden()


def test_a_reload_shows_nothing_that_waits_to_be_sent(desk: Desk) -> None:
    _deep(desk)
    page = desk.page
    page.add_init_script(_RECORDS)
    offline = True

    def answer(route: Route) -> None:
        route.abort() if offline else route.continue_()

    page.route("**/exchange", answer)
    judged = _judge(desk, 5)
    page.reload()
    page.wait_for_selector("#status >> text=5 not saved yet")
    offline = False
    desk.ready()
    expect(page.locator("#status")).to_have_text(SAVED, timeout=20_000)
    desk.saved("pick", 5)
    drawn = page.evaluate("[...window.__drawn]")
    assert drawn
    assert set(judged) & set(drawn) == set()
    assert {row.revision for row in desk.saved("pick", 5)} == {1}


def test_the_rules_come_first_and_again_when_they_change_in_an_open_page(desk: Desk) -> None:
    desk.furnish("pick")
    with desk.database.transaction() as session:
        session.execute(
            update(Membership)
            .where(Membership.user_id == desk.user_id)
            .values(guidelines_read_version=0)
        )
    page = desk.page
    page.goto(f"{desk.url}/p/{desk.slug('pick')}/label")
    expect(page.locator("#question")).to_have_text("Read the guidelines first")
    assert page.locator("#work, #foot:visible").count() == 0
    desk.axe("the rules")
    page.click("text=I have read them: continue")
    desk.ready()
    with desk.database.transaction() as session:
        project = session.scalars(select(Project).where(Project.slug == desk.slug("pick"))).one()
        text = GuidelinesText(rules="Prefer the shorter one.", summary="Length decides.")
        projects.publish_guidelines(session, project, text, author_id=None)

    held: list[Route] = []
    page.route("**/exchange", lambda route: held.append(route))
    before = desk.prompt()
    page.keyboard.press("1")
    with page.expect_response("**/exchange"):  # it tells of the new version
        page.keyboard.press("Enter")
        desk.next(before)
        page.keyboard.press("2")  # begun before the news arrive: not taken away
        for _ in range(250):
            if held:
                break
            page.wait_for_timeout(20)  # lets the handler run
        held.pop().continue_()
    page.unroute("**/exchange")
    desk.saved("pick", 1)
    expect(page.locator("#choose-2")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Enter")
    expect(page.locator("#question")).to_have_text("The guidelines have changed")
    expect(page.locator("main")).to_contain_text("What changed: Length decides.")
    assert len(desk.current("pick")) == 2
    page.click("text=I have read them: continue")
    desk.ready()


def _two_tabs(desk: Desk, *, comparisons: int) -> tuple[Page, Page]:
    """Open the same comparison twice."""
    desk.furnish("pick", comparisons=comparisons)
    desk.open("pick")
    first = desk.page
    desk.page = first.context.new_page()
    desk.open("pick")
    return first, desk.page


def test_what_another_tab_has_judged_is_refused_and_not_called_saved(desk: Desk) -> None:
    first, second = _two_tabs(desk, comparisons=3)
    judged = [(first, "1"), (second, "2"), (second, "1"), (first, "2")]  # two by each, in turn
    for (page, key), is_saved in zip(judged, [True, False, True, False], strict=True):
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_have_text(
            SAVED if is_saved else re.compile("^$"), timeout=20_000
        )
        refusal = page.locator("#trouble")
        if is_saved:
            expect(refusal).to_be_hidden()
            continue
        expect(refusal).to_contain_text("Not saved: you have judged this comparison")
        with page.expect_response("**/exchange"):  # it fetches, which goes well
            page.evaluate("dispatchEvent(new Event('online'))")
        page.wait_for_timeout(50)
        expect(refusal).to_contain_text("Not saved: you have judged this comparison")
    desk.saved("pick", 2)


def test_a_refusal_brings_the_counts_up_to_date(desk: Desk) -> None:
    first, second = _two_tabs(desk, comparisons=12)  # enough, so that counts do not come anyway
    for page in (first, second):
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        expect(first.locator("#status")).to_have_text(SAVED, timeout=20_000)
    expect(second.locator("#trouble")).to_contain_text("Not saved: you have judged this comparison")
    expect(second.locator("#today")).to_have_text("1")


def test_what_the_server_never_takes_holds_up_nothing_else(desk: Desk) -> None:
    desk.furnish("pick", comparisons=8)
    desk.open("pick")
    page = desk.page
    page.route("**/exchange", lambda route: route.abort())  # so that three are sent at once
    first = desk.prompt()
    for number in range(3):
        before = desk.prompt()
        page.keyboard.press("1")
        if number == 0:
            page.keyboard.press("c")
            page.locator("#comment").evaluate(_HALF_A_PAIR)
            page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        desk.next(before)
    page.unroute("**/exchange")
    desk.saved("pick", 2)
    refusal = page.locator("#trouble")
    expect(refusal).to_contain_text("Not saved: comment has half of a surrogate pair (U+D83D)")
    expect(page.locator("#status")).not_to_have_text(SAVED)
    for _ in range(8):  # it comes again, after what is ahead
        if desk.prompt() == first:
            break
        before = desk.prompt()
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        desk.next(before)
    assert desk.prompt() == first
    expect(page.locator("#choose-1")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("c")
    page.locator("#comment").fill("Whole")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text(SAVED, timeout=20_000)
    assert "Whole" in {each.comment for each in desk.current("pick")}


def test_a_judgment_that_breaks_a_new_rule_is_not_lost(desk: Desk) -> None:
    desk.furnish("pick", comparisons=4)
    desk.open("pick")
    page = desk.page
    with desk.database.transaction() as session:
        session.execute(
            update(Project).where(Project.slug == desk.slug("pick")).values(allow_tie=False)
        )
    first = desk.prompt()
    page.keyboard.press("0")
    page.keyboard.press("c")
    page.locator("#comment").fill("Nearly the same")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#trouble")).to_contain_text("what you entered is kept")
    page.reload()
    desk.ready()
    assert desk.prompt() == first
    expect(page.locator("#comment")).to_have_value("Nearly the same")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text(SAVED, timeout=20_000)
    assert [each.comment for each in desk.current("pick")] == ["Nearly the same"]
