"""The leaderboard in a real browser: from a table of four models to the answer, in a few clicks."""

import pytest
from playwright.sync_api import Locator, expect
from sqlalchemy import select

from app.models import Comparison, Project, Role, User
from app.services.people import accounts
from tests.browser.desk import LOOKS, Desk, House, fits_window, sit_down
from tests.services import compared_sources, sample

pytestmark = pytest.mark.browser

MODELS = ("alpha-7b", "beta-7b", "gamma-7b", "delta-7b")
CLICKS_MOST = 12


class Clicks:
    """Counts what a lead clicks, chooses or picks."""

    def __init__(self) -> None:
        self.count = 0

    def on(self, target: Locator) -> None:
        """Click."""
        self.count += 1
        target.click()

    def choose(self, target: Locator, label: str) -> None:
        """Choose an option, which takes two clicks."""
        self.count += 2
        target.select_option(label=label)

    def take(self, target: Locator, table: str) -> None:
        """Pick a file, which takes two clicks."""
        self.count += 2
        target.set_input_files(
            {"name": "models.csv", "mimeType": "text/csv", "buffer": table.encode()}
        )


def table_of_models(prompts: int) -> str:
    rows = [",".join(["prompt", *MODELS])]
    rows += [
        ",".join([f"Question {n}?", *(f"{model} says {n}" for model in MODELS)])
        for n in range(prompts)
    ]
    return "\n".join(rows) + "\n"


def judge_all(desk: Desk, slug: str) -> int:
    """Let two labelers judge every comparison, by the order of the models."""
    with desk.database.transaction() as session:
        project = session.scalars(select(Project).where(Project.slug == slug)).one()
        people = [session.get_one(User, at) for at in sample.make_labelers(session, project, 2)]
        own = select(Comparison).where(Comparison.project_id == project.id)
        comparisons = session.scalars(own.order_by(Comparison.id)).all()
        for at, comparison in enumerate(comparisons):
            names = sorted(compared_sources.order_of(session, comparison), key=MODELS.index)
            for person, user in enumerate(people):
                upset = (at + 3 * person) % 5 == 0 and names[0] != MODELS[0]
                compared_sources.prefer(
                    session, comparison, user, *(names[::-1] if upset else names)
                )
    return len(comparisons)


def test_four_models_in_a_table_are_ranked_in_a_few_clicks(house: House) -> None:
    with sit_down(house) as desk:
        slug, page, clicks = desk.slug("models"), desk.page, Clicks()
        with desk.database.transaction() as session:
            project = sample.make_project(session, slug=slug, name="Which model?", overlap=2)
            accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
        page.goto(f"{desk.url}/p/{slug}/leaderboard")
        clicks.on(page.get_by_role("link", name="Import a file"))
        clicks.take(page.locator("#file"), table_of_models(60))
        clicks.choose(page.locator("#format"), "a prompt and a column of responses for each model")
        clicks.on(page.get_by_role("button", name="Import", exact=True))
        clicks.on(page.get_by_role("link", name="Ask labelers to compare them"))
        clicks.on(page.get_by_role("button", name="Ask labelers"))
        expect(page.get_by_text("comparisons added to the queue")).to_be_visible()
        assert judge_all(desk, slug) > 90
        clicks.on(page.get_by_role("link", name="Leaderboard", exact=True))
        expect(page.locator("h2").first).to_have_text(
            "alpha-7b is preferred to every other model, and that is sure at 95 %."
        )
        assert clicks.count <= CLICKS_MOST
        first = page.locator(".ranking tbody tr").first
        expect(first).to_contain_text("alpha-7b")
        expect(first.locator("td").first).to_have_text("1")
        page.locator("#reference").select_option("delta-7b")
        page.get_by_role("button", name="Show").click()
        expect(page.locator(".ranking tbody")).to_contain_text("reference")
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        text = download.value.path().read_text()
        assert download.value.suggested_filename == f"{slug}-leaderboard.csv"
        assert text.splitlines()[1].startswith("1,1,1,1,alpha-7b,")
        assert ",delta-7b," in text.splitlines()[1]
        assert desk.problems == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_the_leaderboard_fits_and_has_no_violations(house: House, width: str, scheme: str) -> None:
    with sit_down(house, width, color_scheme=scheme) as desk:
        slug, page = desk.slug("board"), desk.page
        with desk.database.transaction() as session:
            project = sample.make_project(session, slug=slug, name="Which model?")
            accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
        address = f"{desk.url}/p/{slug}/leaderboard"
        page.goto(address)
        desk.axe("no responses")
        _compare(desk, project)
        for query in ("", "?length=1&reference=beta", "?by=judges", "?by=both&category=math"):
            page.goto(address + query)
            desk.axe(f"the leaderboard {query}")
            assert fits_window(page)
        assert desk.problems == []


def _compare(desk: Desk, project: Project) -> None:
    """Fill a project with votes of people and a judge, two groups, and one that is alone."""
    with desk.database.transaction() as session:
        project = session.merge(project)
        people = [session.get_one(User, at) for at in sample.make_labelers(session, project, 1)]
        made = compared_sources.judged(session, project, people, rounds=3)
        compared_sources.add_judge(session, project, made[:6])
        for number in range(12):
            other = compared_sources.compare(session, project, 100 + number, ("north", "south"))
            compared_sources.prefer(session, other, people[0], "north")
        compared_sources.compare(session, project, 200, ("alpha", "a-model-with-a-very-long-name"))
