"""The filters of long lists: in a row on a wide page, folded away on a phone, without a script."""

import pytest
from sqlalchemy import select

from app.models import Membership, Project, Role
from tests.browser.desk import LOOKS, House, fits_window, sit_down

pytestmark = pytest.mark.browser

FIELDS = {"comparisons": "#state", "prompts": "#split"}
QUERIES = {"comparisons": "purpose=train", "prompts": "split=train"}


@pytest.mark.parametrize("page_name", FIELDS)
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_filters_are_folded_on_a_phone_unless_one_is_set(
    house: House, width: str, scheme: str, page_name: str
) -> None:
    with sit_down(house, width, color_scheme=scheme, java_script_enabled=False) as desk:
        desk.furnish("pick")
        with desk.database.transaction() as session:
            project = select(Project.id).where(Project.slug == desk.slug("pick")).scalar_subquery()
            lead = select(Membership).where(Membership.project_id == project)
            session.scalars(lead.where(Membership.user_id == desk.user_id)).one().role = Role.LEAD
        page, field = desk.page, desk.page.locator(FIELDS[page_name])
        address = f"{desk.url}/p/{desk.slug('pick')}/{page_name}"
        page.goto(address)
        summary = page.locator("summary", has_text="Filters")
        button = page.get_by_role("button", name="Search")
        if width == "wide":
            assert (field.is_visible(), summary.is_visible()) == (True, False)
            tops = [one.bounding_box() for one in (page.locator("#q"), field, button)]
            assert len({box and box["y"] for box in tops}) == 1  # in one row
            return
        assert (field.is_visible(), summary.is_visible()) == (False, True)
        row = page.locator("tbody tr").first.bounding_box()
        search = page.locator("#q").bounding_box()
        assert row
        assert search
        assert row["y"] - search["y"] < 160
        summary.focus()
        page.keyboard.press("Enter")
        assert field.is_visible()
        page.goto(f"{address}?{QUERIES[page_name]}")
        assert field.is_visible()
        assert fits_window(page)
