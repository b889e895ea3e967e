"""Pages where scrollbars take room, as on most desktops: nothing scrolls sideways."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from app.models import Completion, Project
from tests.browser.desk import CHROMIUM, KINDS, House, fits_window, sit_down

pytestmark = pytest.mark.browser


@pytest.fixture
def house_with_scrollbars(house: House) -> Iterator[House]:
    """Give the application in a browser whose scrollbars take room."""
    browser = house.browser.browser_type.launch(
        executable_path=CHROMIUM,
        args=["--no-sandbox"],
        ignore_default_args=["--hide-scrollbars"],
    )
    yield replace(house, browser=browser)
    browser.close()


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_the_labeling_page_fits_beside_a_scrollbar(
    house_with_scrollbars: House, width: str
) -> None:
    kinds = [kind for kind, responses in KINDS.items() if responses]
    with sit_down(house_with_scrollbars, width) as desk:
        desk.furnish(*kinds, comparisons=1)
        with desk.database.transaction() as session:
            of_desk = select(Project.id).where(Project.slug.in_([desk.slug(one) for one in kinds]))
            session.execute(
                update(Completion)
                .where(Completion.project_id.in_(of_desk))
                .values(text="A line.\n\n" * 60)
            )
        for kind in kinds:
            desk.open(kind)
            room = "window.innerWidth - document.documentElement.clientWidth"
            assert desk.page.evaluate(room) > 0, "the scrollbar takes room"
            assert fits_window(desk.page), kind
        assert desk.problems == []
