"""Responses to a follow-up: each candidate's whole conversation, judged by keyboard."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import earlier_turns
from app.models import Comparison, Completion, Project, Prompt
from tests.browser.desk import Desk, House, fits_window, sit_down

pytestmark = pytest.mark.browser

AGAIN = "Shorter, please, and **without** the beach."
FIRST = "Hawaii has beaches, volcanoes and *seven* kinds of climate. Number {}."


@pytest.fixture(params=["wide", "phone"])
def desk(house: House, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """Give a labeler at a desk of either width."""
    with sit_down(house, request.param) as found:
        yield found
    assert found.problems == []


def ask_again(session: Session, slug: str) -> None:
    """Turn all responses of a project into responses to a follow-up."""
    project = session.scalars(select(Project).where(Project.slug == slug)).one()
    own = select(Comparison.prompt_id).where(Comparison.project_id == project.id)
    for prompt in session.scalars(select(Prompt).where(Prompt.id.in_(own))):
        prompt.follow_up = [AGAIN]
    for completion in session.scalars(select(Completion).where(Completion.prompt_id.in_(own))):
        said = FIRST.format(completion.sample_index)
        completion.earlier = earlier_turns.interleaved([said], [AGAIN])


@pytest.mark.parametrize(("kind", "keys"), [("pick", "1"), ("rank", "1234"), ("edit", "")])
def test_each_candidate_is_shown_with_its_own_first_response(
    desk: Desk, kind: str, keys: str
) -> None:
    desk.furnish(kind, comparisons=2)
    with desk.database.transaction() as session:
        ask_again(session, desk.slug(kind))
    desk.open(kind)
    page = desk.page
    shown = page.locator("#work .turns")
    assert shown.count() == {"pick": 2, "rank": 4, "edit": 1}[kind]
    firsts = set(page.locator("#work .turns .assistant .text").all_inner_texts())
    assert len(firsts) == shown.count()
    for text in page.locator("#work .turns .user .text").all_inner_texts():
        assert text.strip() == "Shorter, please, and without the beach."
    assert "Shorter" not in page.locator("#work .prompt").inner_text()
    assert fits_window(page)
    desk.axe(kind)
    if not keys:
        return
    for key in keys:
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    assert len(desk.saved(kind, 1)) == 1
