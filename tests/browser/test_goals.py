"""From an empty installation to a leaderboard that says how sure it is, in a few clicks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from app.db import Database
from app.models import Comparison, Project, User
from app.services.people import accounts
from app.settings import Settings
from tests.browser.desk import WIDTHS, Desk, House, fits_window
from tests.browser.test_leaderboard import CLICKS_MOST, Clicks
from tests.conftest import PASSWORD, quick_app
from tests.live import serve
from tests.services import sample, sample_votes

pytestmark = pytest.mark.browser

VOTES = "prompt,model_a,model_b,response_a,response_b,winner\n" + "".join(
    f"Question {n}?,alpha,beta,Yes {n}.,No {n}.,{'model_a' if n % 10 else 'model_b'}\n"
    for n in range(60)
)
ANSWERS = "prompt,response_alpha,response_beta,response_gamma\n" + "".join(
    f"Question {n}?,Yes {n}.,No {n}.,Maybe {n}.\n" for n in range(40)
)


@pytest.fixture
def empty(browser: Browser, sqlite_template: Path, tmp_path: Path) -> Iterator[House]:
    """Give an installation with an administrator and nothing else."""
    path = tmp_path / "attune.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    with database.transaction() as session:
        accounts.create_user(
            session, email="ada@example.org", name="Ada", password=PASSWORD, is_admin=True
        )
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{path}", secret_key="s" * 40)
    with serve(quick_app(settings, database)) as url:
        yield House(browser, url, database)
    database.dispose()


def judge_all(database: Database) -> None:
    """Let a labeler judge every comparison."""
    with database.transaction() as session:
        project = session.query(Project).one()
        (labeler_id,) = sample.make_labelers(session, project, 1)
        labeler = session.get_one(User, labeler_id)
        for comparison in session.query(Comparison).order_by(Comparison.id):
            sample_votes.vote(session, comparison, labeler, preferred="a")


def import_table(page: Page, clicks: Clicks, table: str) -> None:
    """Sign in, create the project and import the table."""
    page.fill("[name=email]", "ada@example.org")
    page.fill("[name=password]", PASSWORD)
    clicks.on(page.get_by_role("button", name="Sign in"))
    clicks.on(page.get_by_role("link", name="Create a project"))
    clicks.on(page.get_by_role("radio", name="Compare models"))
    page.fill("[name=name]", "Which is best")
    page.fill("[name=overlap]", "1")
    clicks.on(page.get_by_role("button", name="Create project"))
    clicks.on(page.get_by_role("link", name="Import a file"))
    clicks.take(page.get_by_label("File", exact=True), table)
    clicks.on(page.get_by_role("button", name="Import", exact=True))


@pytest.mark.parametrize("has_votes", [True, False])
def test_models_are_compared_in_a_few_clicks(empty: House, has_votes: bool) -> None:
    page = empty.browser.new_page(viewport={"width": WIDTHS["wide"][0], "height": 800})
    clicks = Clicks()
    page.goto(empty.url)
    import_table(page, clicks, VOTES if has_votes else ANSWERS)
    if not has_votes:
        clicks.on(page.get_by_role("button", name="Ask labelers"))
        expect(page.get_by_role("status")).to_contain_text("40 comparisons added")
        judge_all(empty.database)
    clicks.on(page.get_by_role("link", name="Leaderboard").first)
    expect(page.locator("main h2").first).to_contain_text("alpha")
    assert "%" in page.locator("main table").first.inner_text()
    assert clicks.count <= CLICKS_MOST, clicks.count
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_the_form_shows_what_the_goal_needs(
    empty: House, width: str, scheme: Literal["light", "dark"]
) -> None:
    across, down = WIDTHS[width]
    page = empty.browser.new_page(viewport={"width": across, "height": down}, color_scheme=scheme)
    desk = Desk(page, empty, "", 0, "")
    page.goto(empty.url)
    page.fill("[name=email]", "ada@example.org")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Create a project").click()
    base = page.get_by_label("Base model")
    expect(base).to_be_visible()
    page.get_by_role("radio", name="Collect preferences").focus()
    page.keyboard.press("Space")
    expect(base).to_be_hidden()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Train in rounds")).to_be_checked()
    expect(base).to_be_visible()
    desk.axe(f"new project, {width}, {scheme}")
    assert fits_window(page)
    page.get_by_role("radio", name="Collect preferences").check()
    page.fill("[name=name]", "Votes")
    page.get_by_role("button", name="Create project").click()
    expect(page.get_by_role("heading", name="Import prompts and responses")).to_be_visible()
    desk.axe(f"overview without training, {width}, {scheme}")
    assert fits_window(page)
    page.close()
