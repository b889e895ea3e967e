"""Every kind of judgment, by keyboard alone and by click alone, in every look of the page.

The looks (width, light or dark, reading direction) are covered pairwise: each pair of values of two
of them comes with each way of working at least once. What was entered in the browser is what the
database, the history page, the API and the export hold.
"""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from app.models import Judgment
from tests.browser.desk import CRITERIA, KINDS, Desk, House, sit_down
from tests.services import sample_votes

pytestmark = pytest.mark.browser

LOOKS = [  # width, scheme, Hebrew, way: an orthogonal array over the first three
    ("wide", "light", False, "keys"),
    ("wide", "dark", True, "clicks"),
    ("phone", "light", True, "keys"),
    ("phone", "dark", False, "clicks"),
    ("narrow", "dark", True, "keys"),
    ("narrow", "light", False, "clicks"),
]


def _by_keys(desk: Desk, kind: str) -> None:
    keys = desk.page.keyboard
    if kind in {"write", "edit"}:
        if desk.page.evaluate("document.activeElement.id") != "answer-text":
            keys.press("e")
        keys.type("A text of my own. u s f")
        keys.press("Escape")
    else:
        presses = {"pick": ["2", "ArrowLeft", "ArrowLeft"], "rank": [*"314", "=", "Alt+ArrowUp"]}
        presses |= {"rate": [*"4231", "k", "5"], "thumbs": ["2", "1", "3", "5"]}
        for key in presses[kind]:
            keys.press(key)
    keys.press("c")
    keys.type("by keys: b 0 z")
    keys.press("Escape")
    desk.axe(f"{kind} by keys, answered")
    keys.press("Enter")


def _by_clicks(desk: Desk, kind: str) -> None:
    page = desk.page
    _CLICKS[kind](page)
    _bar(page, "comment")
    page.fill("#comment", "by clicks")
    desk.axe(f"{kind} by clicks, answered")
    page.click("#submit")


def _click_ranks(page: Page) -> None:
    first = page.locator("#work li").nth(3).get_attribute("data-position")
    for _ in range(3):
        page.click(f"#up-{first}")
    page.select_option(f"#rank-{first}", "2")
    page.click("#work li:nth-child(3) .move >> text='='")


def _click_ratings(page: Page) -> None:
    for at in range(4):
        page.click(f".rating[data-place='{at}'] .point >> nth={at}")


def _click_edit(page: Page) -> None:
    page.fill("#answer-text", "Better by click.")
    page.click("#restore")
    page.click("#restore")


def _click_pick(page: Page) -> None:
    page.click("#choose-1")
    strongest = page.locator("#work .step >> nth=-1")
    if not strongest.is_visible():  # a phone has room for the strengths of the chosen side only
        page.click("#side-2")
    strongest.click()


def _click_thumb(page: Page) -> None:
    page.click("#thumb-down")
    page.click("#work .reason >> nth=1")


_CLICKS: dict[str, Callable[[Page], None]] = {
    "pick": _click_pick,
    "rank": _click_ranks,
    "rate": _click_ratings,
    "thumbs": _click_thumb,
    "write": lambda page: page.fill("#answer-text", "Written by click."),
    "edit": _click_edit,
}


def _bar(page: Page, does: str) -> None:
    """Click an action in the foot bar, in the menu where there is no room for it."""
    button = page.locator(f"#foot [data-do={does}]:visible")
    if not button.count():
        page.click("#foot .menu > summary")
    page.locator(f"#foot [data-do={does}]:visible").click()


def _seen(judgment: Judgment) -> object:
    """Return a judgment as the labeler entered it: by what stood where on screen."""
    order = judgment.shown_order
    match judgment.kind:
        case "pick":
            sides = {"ab"[position]: place for place, position in enumerate(order, start=1)}
            return sides.get(judgment.preferred or ""), judgment.strength
        case "rank":
            assert judgment.ranking is not None
            return [judgment.ranking[position] for position in order]
        case "rate":
            assert judgment.ratings is not None
            return [[judgment.ratings[name][at] for name, _ in CRITERIA] for at in order]
        case "thumbs":
            return judgment.thumb, judgment.reasons
    return judgment.text


_KEYED = {
    "rank": [3, 4, 1, 2],
    "rate": [[4, 2], [5, 1]],
    "thumbs": ("up", ["helpful", "clear"]),
    "write": "A text of my own. u s f",
}
_CLICKED = {
    "pick": (2, 4),
    "rank": [1, 2, 4, 2],
    "rate": [[1, 2], [3, 4]],
    "thumbs": ("down", ["wrong"]),
    "write": "Written by click.",
    "edit": "Better by click.",
}


@pytest.mark.parametrize(("width", "scheme", "hebrew", "way"), LOOKS)
def test_every_kind_is_judged_as_it_was_entered(
    house: House, width: str, scheme: str, hebrew: bool, way: str
) -> None:
    with sit_down(house, width, color_scheme=scheme) as desk:
        desk.furnish(*KINDS, hebrew=hebrew, comparisons=2)
        for kind in KINDS:
            desk.open(kind)
            desk.axe(f"{kind}, untouched")
            desk.fits()
            before = desk.prompt()
            (_by_keys if way == "keys" else _by_clicks)(desk, kind)
            desk.next(before)
            (judgment,) = desk.saved(kind, 1)
            assert judgment.comment == ("by keys: b 0 z" if way == "keys" else "by clicks")
            _check_entered(judgment, kind, way, hebrew)
            _check_history_and_api(desk, kind, judgment)
            _check_export(desk, kind, judgment)
        assert desk.problems == []


def _check_entered(judgment: Judgment, kind: str, way: str, hebrew: bool) -> None:
    seen = _seen(judgment)
    if way == "clicks":
        assert seen == _CLICKED[kind]
    elif kind == "pick":  # 2, then twice to the left: away from the second answer, which stands
        assert seen == ((2, 2) if hebrew else (None, None))  # on the left where one reads leftwards
    elif kind == "edit":
        assert "A text of my own. u s f" in str(seen)
        assert str(seen) != "A text of my own. u s f"
    else:
        assert seen == _KEYED[kind]


def _check_history_and_api(desk: Desk, kind: str, judgment: Judgment) -> None:
    api = f"{desk.url}/api/v1/projects/{desk.slug(kind)}/judgments"
    (entry,) = desk.page.request.get(api).json()
    answer = entry["answer"]
    assert answer.pop("kind") == kind
    columns = {name: getattr(judgment, name) for name in answer}
    assert answer == columns
    assert entry["comment"] == judgment.comment
    said = desk.page.request.get(f"{desk.url}/p/{desk.slug(kind)}/history").text()
    assert judgment.comment in said
    words = {
        "pick": r"is (\w+ )?better|About the same",
        "rank": r"\d (&gt;|=) \d (&gt;|=) \d (&gt;|=) \d",
        "rate": r"helpful \d · \d; correct \d · \d",
        "thumbs": "Good, does what was asked, clear" if judgment.thumb == "up" else "Bad, wrong",
        "write": re.escape(str(judgment.text)),
        "edit": re.escape(str(judgment.text)),
    }
    assert re.search(words[kind], said)


def _check_export(desk: Desk, kind: str, judgment: Judgment) -> None:
    (row,) = sample_votes.exported(desk.database, desk.slug(kind), "rich")
    (vote,) = row["individual_preference"]
    if kind == "pick":
        ranks = {"a": [1, 2], "b": [2, 1], "tie": [1, 1]}[str(judgment.preferred)]
        assert (vote["ranking"], vote.get("strength")) == (ranks, judgment.strength)
    else:
        names = {"rank": ["ranking"], "rate": ["ratings"], "thumbs": ["thumb", "reasons"]}
        for name in names.get(kind, ["text"]):
            assert vote[name] == getattr(judgment, name)
    assert vote["comment"] == judgment.comment
    assert vote["shown_order"] == judgment.shown_order
