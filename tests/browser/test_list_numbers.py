"""Numbers of lists in responses: as wide as they are, nothing of them is cut off."""

import pytest
from sqlalchemy import select

from app.models import Completion, Prompt
from tests.browser.desk import Desk, House, sit_down

pytestmark = pytest.mark.browser

LISTS = {
    "twelve": "".join(f"{number}. point\n" for number in range(1, 13)),
    "to a hundred": "".join(f"{number}. point\n" for number in range(95, 105)),
    "a year": "1985. It was a good year.",
    "the longest": "999999999. point\n1. point\n",
    "nested": "- point\n" + "".join(f"   {number}. inner\n" for number in range(1, 13)),
    "quoted": "".join(f"> {number}. point\n" for number in range(1, 13)),
    "Hebrew": "".join(f"{number}. שלום\n" for number in range(1, 13)),
    "mixed": "".join(f"{number}. {'שלום' if number > 9 else 'point'}\n" for number in range(1, 13)),
}
_CUT = """() => [...document.querySelectorAll("#work .cand .text ol")].flatMap((list) =>
  [...list.children].flatMap((item, at) => {
    const probe = document.createElement("span");
    const style = getComputedStyle(item);
    probe.textContent = `${list.start + at}.\u00a0`;
    probe.style.cssText = "position: absolute; font-variant-numeric: tabular-nums";
    item.append(probe);
    const needed = probe.getBoundingClientRect().width;
    probe.remove();
    const text = item.closest(".text").getBoundingClientRect();
    const box = item.getBoundingClientRect();
    const room = style.direction === "rtl" ? text.right - box.right : box.left - text.left;
    return room < needed ? [`${list.start + at}: ${room} of ${needed}`] : [];
  }))"""


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_numbers_of_lists_have_room(house: House, width: str) -> None:
    with sit_down(house, width) as desk:
        desk.furnish("rank", comparisons=1, k=len(LISTS))
        _write(desk)
        desk.open("rank")
        assert desk.page.locator("#work .cand .text ol").count() == len(LISTS)
        assert desk.page.evaluate(_CUT) == []
        assert desk.problems == []


def _write(desk: Desk) -> None:
    """Let each response of the only comparison be one of the lists."""
    with desk.database.transaction() as session:
        prompt = session.scalars(select(Prompt).order_by(Prompt.id.desc())).first()
        assert prompt is not None
        rows = session.scalars(select(Completion).where(Completion.prompt_id == prompt.id)).all()
        for row, text in zip(rows, LISTS.values(), strict=True):
            row.text = text
