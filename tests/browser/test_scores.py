"""Scores in a real browser: the form by keyboard, figures and worst cases, at any width."""

from collections.abc import Iterator

import pytest

from app.db import now
from app.domain.states import JobState
from app.models import Checkpoint, Project, Role, ScoredRow, Scoring, Split
from app.services.people import accounts
from app.services.project import prompts
from app.services.project.prompts import NewPrompt
from app.services.rounds import scorings
from tests.browser.desk import LOOKS, Desk, House, fits_window, sit_down
from tests.services import sample

pytestmark = pytest.mark.browser


@pytest.fixture(
    params=[
        pytest.param(look.values, marks=look.marks, id="-".join(map(str, look.values)))
        for look in LOOKS
    ]
)
def desk(house: House, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """Give the lead of a project with prompts and two models."""
    width, scheme = request.param
    with sit_down(house, width, color_scheme=scheme) as found:
        with found.database.transaction() as session:
            project = sample.make_project(session, slug=found.slug("scores"))
            accounts.add_member(session, project.id, found.user_id, Role.LEAD, actor_id=None)
            questions = [NewPrompt((("user", f"Where is book {n}?"),)) for n in range(3)]
            for prompt in prompts.add(session, project, questions).prompts:
                prompt.split = Split.TEST
            for name in ("Base", "Policy 1"):
                session.add(
                    Checkpoint(
                        project_id=project.id,
                        kind="base",
                        name=name,
                        uri=name,
                        state="ready",
                        created_at=now(session),
                    )
                )
        found.page.goto(f"{found.url}/p/{found.slug('scores')}/scores")
        yield found
        assert found.problems == []


def finish(desk: Desk) -> None:
    """Do the work of the job."""
    with desk.database.transaction() as session:
        project = session.query(Project).filter_by(slug=desk.slug("scores")).one()
        scoring = session.query(Scoring).filter_by(project_id=project.id).one()
        for row in session.query(ScoredRow).filter_by(scoring_id=scoring.id):
            row.texts = ["That is **stupid**. " * 5, "Gladly, here it is."]
            row.scores = [0.9 - 0.1 * row.place, 0.1 * row.place]
        scoring.finished_at = now(session)
        job = scorings.job_of(session, scoring)
        assert job is not None
        job.state = JobState.SUCCEEDED


def test_scores_are_asked_for_by_keyboard_and_read(desk: Desk) -> None:
    page = desk.page
    assert fits_window(desk.page)
    desk.axe("the form")
    page.locator("#kind").focus()
    page.keyboard.type("Rule: pattern")
    assert page.locator("#pattern").is_visible()
    assert not page.locator("#source").is_visible(), "only the fields of the kind are shown"
    page.keyboard.press("Tab")
    page.keyboard.type("stupid")
    page.locator("#threshold").fill("0.5")
    page.get_by_role("button", name="Score models").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Scores: pattern stupid").wait_for()
    desk.axe("queued")
    finish(desk)
    page.reload()
    assert page.get_by_text("Change from Base").is_visible()
    assert page.locator(".case").count() == 3
    first = page.locator(".case").first
    assert "score 0.200" in first.inner_text(), "the worst of the last model comes first"
    assert fits_window(desk.page)
    desk.axe("the result")
    page.get_by_text("View as table").click()
    desk.axe("the table of the distribution")
