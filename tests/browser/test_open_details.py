"""Lead pages at 380 px with everything unfolded: nothing is wider than the window."""

from collections.abc import Iterator

import pytest

from tests.browser import lead_world
from tests.browser.desk import Desk, House, sit_down

pytestmark = pytest.mark.browser

_OPEN = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
_TOO_WIDE = """() => {
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth <= clientWidth) return [];
  return [...document.querySelectorAll('main *')].filter((one) =>
    one.getBoundingClientRect().right > clientWidth + 1 && !one.closest('.scroll-x'))
    .slice(0, 5).map((one) => `${one.tagName} ${one.className}: ${one.innerText.slice(0, 40)}`);
}"""


@pytest.fixture
def desk(house: House) -> Iterator[Desk]:
    """Give a lead at a phone."""
    with sit_down(house, "phone") as found:
        yield found
    assert found.problems == []


def test_nothing_is_wider_than_a_phone_when_all_is_unfolded(desk: Desk) -> None:
    slug = desk.slug("lead")
    with desk.database.transaction() as session:
        ids = lead_world.furnish(session, slug, desk.user_id)
    wide = {}
    for path in (
        "",
        "/climb",
        f"/models/{ids['policy']}",
        "/labelers/judges",
        f"/labelers/judges/{ids['judge']}",
        f"/scores/{ids['scored']}",
        f"/scores/{ids['queued']}",
        "/scores",
        "/chat",
        "/rounds/new",
        "/settings",
        "/prompts",
        f"/evaluations/{ids['evaluation']}",
    ):
        answer = desk.page.goto(f"{desk.url}/p/{slug}{path}")
        assert answer is not None
        assert answer.status == 200, path
        desk.page.evaluate(_OPEN)
        if found := desk.page.evaluate(_TOO_WIDE):
            wide[path] = found
    assert wide == {}
    desk.page.goto(f"{desk.url}/p/{slug}")
    desk.page.evaluate(_OPEN)
    assert desk.page.get_by_role("region", name="The climb as a table").is_visible()
