"""How the page shows what is judged: differences, layouts, long texts, direction, raw text."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from app.models import Comparison, Completion, Project, Prompt
from tests.browser.desk import Desk, House, sit_down

pytestmark = pytest.mark.browser

_BOXES = """([selector, edge]) => [...document.querySelectorAll(selector)].map((one) =>
  Math.round(one.getBoundingClientRect()[edge]))"""


@pytest.fixture
def desk(house: House) -> Iterator[Desk]:
    """Give a labeler at a wide desk."""
    with sit_down(house) as found:
        yield found
    assert found.problems == []


def test_an_edit_shows_what_changed_and_restoring_destroys_nothing(desk: Desk) -> None:
    desk.furnish("edit")
    desk.open("edit")
    page = desk.page
    area = page.locator("#answer-text")
    original = area.input_value()
    area.fill(f"{original} and more")
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    assert page.locator("#changes ins").inner_text().strip() == "and more"
    assert page.locator("#changes del").count() == 0
    page.keyboard.press("o")
    assert area.input_value() == original
    page.keyboard.press("o")
    assert area.input_value() == f"{original} and more"


def _write_texts(desk: Desk, kind: str, question: str, answers: list[str]) -> None:
    with desk.database.transaction() as session:
        project = session.query(Project).filter_by(slug=desk.slug(kind)).one()
        for comparison in session.query(Comparison).filter_by(project_id=project.id):
            prompt = session.get_one(Prompt, comparison.prompt_id)
            prompt.messages = [{"role": "user", "content": question}]
            own = session.query(Completion).filter_by(prompt_id=prompt.id)
            for completion, text in zip(own.order_by(Completion.id), answers, strict=True):
                completion.text = text


def test_two_long_answers_scroll_as_one_under_their_prompt(desk: Desk) -> None:
    desk.furnish("pick", comparisons=1)
    _write_texts(desk, "pick", "Why?", ["Short words. " * 900, "Longer words. " * 2000])
    desk.open("pick")
    page = desk.page
    before = page.evaluate(_BOXES, [".inner", "top"])
    page.mouse.move(300, 400)
    page.mouse.wheel(0, 500)
    page.wait_for_function("() => window.scrollY >= 500")
    after = page.evaluate(_BOXES, [".inner", "top"])
    assert [old - new for old, new in zip(before, after, strict=True)] == pytest.approx([500, 500])
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("() => window.scrollY > 2000")
    expect(page.locator("#work .prompt")).to_be_in_viewport()
    expect(page.locator("#work .step >> nth=0")).to_be_in_viewport()
    ends = page.evaluate(_BOXES, [".inner", "bottom"])
    assert all(0 < end < 800 for end in ends)  # the shorter one waits with its end in view


@pytest.mark.parametrize(
    ("answers", "note", "marks"),
    [
        (["The opening hours are long.", "The opening hours are short."], None, 2),
        (["Alpha beta gamma.", "Drei kurze Wege nach Hause."], "the responses share", 0),
        (["The same words.", "The same words."], "The two responses are identical.", 0),
        (["", "Some words."], "the responses share almost nothing", 0),
        (["Some word here. " * 900, "Other word here. " * 900], "too long to be compared", 0),
    ],
)
def test_differences_are_marked_or_said_not_to_help(
    desk: Desk, answers: list[str], note: str | None, marks: int
) -> None:
    desk.furnish("pick", comparisons=1)
    _write_texts(desk, "pick", "When?", answers)
    desk.open("pick")
    said = desk.page.locator("#no-difference")
    assert said.count() == 0
    desk.page.keyboard.press("d")
    assert desk.page.locator("#work mark").count() == marks
    assert said.count() == (note is not None)
    if note is not None:
        expect(said).to_contain_text(note)
    desk.page.keyboard.press("d")
    assert said.count() == 0


def test_on_a_phone_the_choice_stays_in_reach_below_the_text(house: House) -> None:
    with sit_down(house, "phone") as desk:
        desk.furnish("pick", comparisons=1)
        _write_texts(desk, "pick", "Why?", ["Short words. " * 900, "Longer words. " * 900])
        desk.open("pick")
        page = desk.page
        for share in (0, 0.5, 1):
            page.evaluate("(share) => scrollTo(0, share * document.body.scrollHeight)", share)
            for choice in ("#side-1", "#side-2", "#step-tie-0", "#submit"):
                expect(page.locator(choice)).to_be_in_viewport(ratio=1)
        page.click("#side-2")
        expect(page.locator("#work .step:visible")).to_have_count(5)  # four strengths, and the tie
        expect(page.locator("#work .step.side-2 >> nth=3")).to_be_in_viewport(ratio=1)
        (below,) = page.evaluate(_BOXES, [".scale", "bottom"])
        (foot,) = page.evaluate(_BOXES, ["#foot", "top"])
        assert below == foot, "nothing of the text shows between them"
        desk.fits()
        assert desk.problems == []


def test_two_layouts_of_two_answers(desk: Desk) -> None:
    desk.furnish("pick", comparisons=1)
    desk.open("pick")
    first, second = desk.page.evaluate(_BOXES, ["#work .cand", "top"])
    assert first == second
    desk.page.keyboard.press("l")
    first, second = desk.page.evaluate(_BOXES, ["#work .cand", "top"])
    assert first < second
    desk.page.reload()  # the choice is remembered
    desk.ready()
    first, second = desk.page.evaluate(_BOXES, ["#work .cand", "top"])
    assert first < second


def test_a_project_read_from_right_to_left_is_laid_out_so(desk: Desk) -> None:
    desk.furnish("pick", "rank", "rate", hebrew=True)
    page = desk.page
    desk.open("pick")
    left = "(found) => Math.round(found.getBoundingClientRect().left)"
    assert page.locator("#choose-1").evaluate(left) > page.locator("#choose-2").evaluate(left)
    steps = page.locator("#work .step")
    assert steps.first.evaluate(left) > steps.last.evaluate(left)
    page.keyboard.press("ArrowLeft")  # towards what stands on the left: the second answer
    assert page.locator("#choose-2").get_attribute("aria-pressed") == "true"
    for text in page.locator("#work .text p").all():
        assert text.evaluate("(found) => getComputedStyle(found).direction") == "rtl"
    question = page.locator("#question").inner_text()
    assert question.endswith("?")
    desk.open("rank")
    row = page.locator("#work li").first
    assert row.locator(".rank-select").evaluate(left) > row.locator(".moves").evaluate(left)
    desk.open("rate")
    points = page.locator(".rating >> nth=0").locator(".point")
    assert points.first.evaluate(left) > points.last.evaluate(left)


def test_the_raw_view_shows_what_is_invisible(desk: Desk) -> None:
    desk.furnish("pick", comparisons=1)
    hidden = "pass\u200bword \u202edlrow"
    _write_texts(desk, "pick", f"Is {hidden} safe?", [f"Yes {hidden}.", "<b>No</b>"])
    desk.open("pick")
    desk.page.keyboard.press("r")
    raw = " ".join(desk.page.locator("#work pre.raw").all_inner_texts())
    assert raw.count("⟨U+200B⟩") == 2  # in the prompt too
    assert raw.count("⟨U+202E⟩") == 2
    assert "<b>No</b>" in raw


def test_nothing_moves_for_those_who_want_less_motion(house: House) -> None:
    with sit_down(house, reduced_motion="reduce") as desk:
        desk.furnish("pick", comparisons=1)
        desk.open("pick")
        desk.page.keyboard.press("h")
        moving = desk.page.evaluate(
            "() => [...document.querySelectorAll('*')].filter((one) => { const style = "
            "getComputedStyle(one); return parseFloat(style.transitionDuration) > 0 || "
            "parseFloat(style.animationDuration) > 0; }).length"
        )
        assert moving == 0


def test_without_a_script_the_page_is_a_form(house: House) -> None:
    with sit_down(house, java_script_enabled=False) as desk:
        desk.furnish("pick")
        page = desk.page
        page.goto(f"{desk.url}/")
        page.click("a[aria-label='Label Desk pick']")
        page.click("text=Start")
        page.check("[name=choice] >> nth=0")
        page.click("button >> text=Submit")
        page.wait_for_selector("text=Saved.")
