"""Practice and the guide at a first comparison: by keyboard alone, by click alone."""

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Comparison, Membership, PracticeAnswer, Project, Purpose
from tests.browser.desk import KINDS, Desk, House, fits_window, sit_down
from tests.services import sample

pytestmark = pytest.mark.browser

ANSWERS = {
    "pick": {"preferred": "a"},
    "rank": {"ranking": [1, 2, 3, 4]},
    "rate": {"ratings": {"helpful": [5, 1], "correct": [5, 1]}},
    "thumbs": {"thumb": "down"},
}
PRESSES = {"pick": "1", "rank": "1234", "rate": "5555", "thumbs": "1"}
REASON = "The *first rule* decides."


def _furnish(desk: Desk, kind: str, items: int = 2) -> None:
    """Make a project where two practice comparisons are to be passed before one to judge."""
    desk.furnish(kind, comparisons=1, practice_pass_share=1.0)
    with desk.database.transaction() as session:
        project = session.scalars(select(Project).where(Project.slug == desk.slug(kind))).one()
        for _ in range(items):
            sample.make_comparison(
                session,
                project,
                kind=JudgmentKind(kind),
                purpose=Purpose.PRACTICE,
                gold_answer=ANSWERS[kind],
                gold_reason=REASON,
            )


def _newcomer(desk: Desk, kind: str = "pick") -> None:
    """Make a project where the guide was not sent away."""
    desk.furnish(kind, comparisons=2)
    with desk.database.transaction() as session:
        _member(session, desk).guide_dismissed_at = None


def _member(session: Session, desk: Desk) -> Membership:
    return session.scalars(select(Membership).where(Membership.user_id == desk.user_id)).one()


def _practice(desk: Desk, kind: str) -> Page:
    desk.page.goto(f"{desk.url}/p/{desk.slug(kind)}/practice")
    desk.ready()
    return desk.page


def _right(desk: Desk) -> int:
    """Return the number on screen of the answer that was settled."""
    text = desk.page.evaluate("JSON.parse(document.getElementById('label').dataset.page).api")
    assert text.endswith("/practice")
    positions = desk.page.evaluate(
        "async (url) => { const token = document.querySelector('meta[name=csrf-token]').content;"
        "const found = await fetch(url + '/assignments', { method: 'POST', body: '{}',"
        "headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': token } });"
        "const [one] = (await found.json()).assignments;"
        "return [one.comparison_id, ...one.candidates.map((each) => each.position)]; }",
        text,
    )
    with desk.database.reader() as session:
        answer = session.get_one(Comparison, positions[0]).gold_answer
    assert answer is not None
    return int(positions[1:].index("ab".index(answer["preferred"]))) + 1


def _answers(database: Database, desk: Desk) -> list[PracticeAnswer]:
    with database.reader() as session:
        query = select(PracticeAnswer).where(PracticeAnswer.labeler_id == desk.user_id)
        return list(session.scalars(query.order_by(PracticeAnswer.id)))


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_practice_by_keyboard_alone(house: House, width: str) -> None:
    with sit_down(house, width) as desk:
        _furnish(desk, "pick")
        page, keys = _practice(desk, "pick"), desk.page.keyboard
        right = _right(desk)
        keys.press(str(3 - right))
        keys.press("Enter")
        page.wait_for_selector("[data-feedback] >> text=✗ Not right")
        assert page.locator("#foot").inner_text().count("first rule") == 1
        assert page.locator(
            f"#work [data-place='{right - 1}'] >> text=settled as better"
        ).is_visible()
        assert fits_window(page)
        desk.axe("practice, wrong")
        keys.press(str(right))  # what was answered is answered
        keys.press("u")
        assert len(_answers(house.database, desk)) == 1
        before = desk.prompt()
        keys.press("Enter")
        desk.next(before)
        keys.press(str(_right(desk)))
        keys.press("Enter")
        page.wait_for_selector("[data-feedback] >> text=✓ Right")
        keys.press("Enter")
        page.wait_for_selector("text=You had 1 of 2 right.")
        desk.axe("practice, a run below the mark")
        assert [one.is_right for one in _answers(house.database, desk)] == [False, True]
        page.locator("button >> text=Practice again").focus()
        keys.press("Enter")
        desk.ready()
        for _ in range(2):
            keys.press(str(_right(desk)))
            keys.press("Enter")
            page.wait_for_selector("[data-feedback] >> text=✓ Right")
            keys.press("Enter")
            page.wait_for_function("() => !document.querySelector('[data-feedback]')")
        page.wait_for_selector("text=You can label now")
        desk.open("pick")
        assert page.locator("#work .cand").count() == 2
        assert desk.problems == []


@pytest.mark.parametrize("kind", list(ANSWERS))
def test_every_kind_that_is_practised_says_what_was_right(house: House, kind: str) -> None:
    with sit_down(house) as desk:
        _furnish(desk, kind, items=1)
        page = _practice(desk, kind)
        for key in PRESSES[kind][: 4 if kind == "rate" else KINDS[kind]]:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-feedback]")
        (answer,) = _answers(house.database, desk)
        said = "✓ Right" if answer.is_right else "✗ Not right"
        assert page.locator(".outcome").inner_text() == said
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Your judgments")
        assert desk.problems == []


def test_practice_by_click_alone_leads_from_home_to_labeling(house: House) -> None:
    with sit_down(house, "phone") as desk:
        _furnish(desk, "pick", items=1)
        page = desk.page
        page.goto(f"{desk.url}/")
        page.click("a[aria-label='Practice: Desk pick']")
        desk.ready()
        page.click(f"#choose-{_right(desk)}")
        page.click("#submit")
        page.wait_for_selector("[data-feedback] >> text=✓ Right")
        page.click("#submit")
        page.click("main a >> text=Label")
        desk.ready()
        assert desk.problems == []


def test_no_key_is_shown_in_practice_that_does_nothing(house: House) -> None:
    with sit_down(house) as desk:
        _furnish(desk, "pick")
        page = _practice(desk, "pick")
        page.keyboard.press("?")
        listed = set(page.locator("#key-list kbd").all_inner_texts())
        assert {"u", "s", "f", "c"} & listed == set()
        assert {"1–2", "0", "b", "Enter"} <= listed


@pytest.mark.parametrize(("width", "kind"), [("wide", "rank"), ("phone", "pick")])
def test_the_guide_ticks_its_steps_and_leaves_for_good(house: House, width: str, kind: str) -> None:
    with sit_down(house, width) as desk:
        _newcomer(desk, kind)
        page = desk.page
        if kind == "rank":
            page.set_viewport_size({"width": 1280, "height": 500})
        desk.open(kind)
        guide = page.locator("#guide")
        assert guide.locator("li").count() == 3
        desk.axe("the guide")
        page.reload()  # the tool may have scrolled to the last response
        page.wait_for_selector("html[data-ready]")
        page.keyboard.press("h")
        page.keyboard.press("Escape")
        assert guide.locator(".done").count() == 0, "the guidelines are not the responses"
        for key in "123" if kind == "rank" else "1":
            assert guide.locator(".done").count() == 0
            page.keyboard.press(key)
        judged, read = (guide.locator(f"[data-step={name}].done") for name in ("judge", "read"))
        expect(judged).to_have_count(1)
        if kind == "rank":
            expect(read).to_have_count(0)  # the last response was not in view, whatever the order
            page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
            expect(read).to_have_count(1)
            page.keyboard.press("1")  # takes its rank away
            expect(judged).to_have_count(0)
            page.keyboard.press("1")
        before = desk.prompt()
        page.keyboard.press("Enter")
        desk.next(before)
        expect(guide.locator(".done")).to_have_count(3)  # all of them, beside the second comparison
        desk.axe("the guide, done")
        for key in "123" if kind == "rank" else "1":
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.wait_for_selector("#guide", state="detached")
        desk.saved(kind, 2)
        page.reload()
        page.wait_for_selector("html[data-ready]")
        assert guide.count() == 0
        assert desk.problems == []


@pytest.mark.parametrize("width", ["wide", "phone", "narrow"])
def test_the_guide_leaves_the_work_in_view_and_ticks_no_skip(house: House, width: str) -> None:
    with sit_down(house, width) as desk:
        _newcomer(desk)
        desk.open("pick")
        page = desk.page
        for selector in ("#work .prompt", "#choose-1", "#choose-2", "#work .scale", "#submit"):
            expect(page.locator(selector).first).to_be_in_viewport(ratio=1)
        assert page.locator("#guide").evaluate("(one) => one.offsetHeight") < 140
        before = desk.prompt()
        page.keyboard.press("s")
        page.click("#skip label >> nth=0")
        page.click("#skip button[value=skip]")
        desk.next(before)
        assert page.locator("#guide").is_visible()
        assert page.locator("#guide .done").count() == 0
        desk.fits()
        assert desk.problems == []


@pytest.mark.parametrize(
    ("width", "touch", "says"),
    [
        (
            "wide",
            {},
            ["in doubt, open the guidelines. h", "better response. Click it or press 1 2"],
        ),
        ("wide", {"has_touch": True, "is_mobile": True}, ["guidelines.", "response."]),
        ("phone", {}, ["guidelines."]),
    ],
)
def test_the_guide_speaks_of_keys_only_where_there_are_some(
    house: House, width: str, touch: dict[str, bool], says: list[str]
) -> None:
    with sit_down(house, width, **touch) as desk:
        _newcomer(desk)
        desk.open("pick")
        steps = desk.page.locator("#guide li:visible").all_inner_texts()
        for step, end in zip(steps, says, strict=False):
            assert " ".join(step.split()).endswith(end)
        assert desk.problems == []


def test_the_guide_is_sent_away_by_keyboard(house: House) -> None:
    with sit_down(house) as desk:
        _newcomer(desk)
        desk.open("pick")
        page = desk.page
        page.locator("#guide-away").focus()
        with page.expect_response("**/guide-dismissed"):
            page.keyboard.press("Enter")
        assert page.locator("#guide").count() == 0
        page.reload()
        desk.ready()
        assert page.locator("#guide").count() == 0
        with house.database.reader() as session:
            assert _member(session, desk).guide_dismissed_at is not None
