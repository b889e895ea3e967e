"""Verdicts at the top of a lead's pages, and disputes settled by keys, in a real browser."""

import re

import pytest
from playwright.sync_api import Locator, Page
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import RoundState
from app.models import Adjudication, Project, Role, Round, User
from app.services.people import accounts
from tests.browser import lead_world
from tests.browser.desk import LOOKS, Desk, House, fits_window, sit_down
from tests.browser.test_leaderboard import Clicks
from tests.services import sample
from tests.services.sample_votes import make_comparison, vote

pytestmark = pytest.mark.browser

DISPUTE_CLICKS_MOST = 6
LABELER = r"\bL\d+(?:-\d+)?\b"
TEXTS = ("The first response.", "A second one.", "The third of them.", "And a fourth.")


def _lead(session: Session, desk: Desk, name: str, **columns: object) -> tuple[Project, list[User]]:
    """Make a project that the person at the desk leads, with two more labelers."""
    project = sample.make_project(session, slug=desk.slug(name), name="Library desk", **columns)
    accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
    own = session.get_one(User, desk.user_id)
    others = sample.make_labelers(session, project, 2)
    return project, [own, *(session.get_one(User, user_id) for user_id in others)]


def _hurry(session: Session, desk: Desk) -> None:
    """Let one of three labelers answer in a second, and mostly against the others."""
    project, (own, careful, hasty) = _lead(session, desk, "hurry", overlap=3)
    for at in range(40):
        comparison = make_comparison(session, project)
        for user in (own, careful):
            vote(session, comparison, user, preferred="b" if at % 6 else "a", active_ms=24_000)
        vote(session, comparison, hasty, preferred="a" if at % 3 else "b", active_ms=1_000)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_verdicts_are_read_first_fit_and_have_no_violations(
    house: House, width: str, scheme: str
) -> None:
    with sit_down(house, width, color_scheme=scheme) as desk:
        page = desk.page
        with desk.database.transaction() as session:
            ids = lead_world.furnish(session, desk.slug("world"), desk.user_id)
            _hurry(session, desk)
        for project, path, word in (
            ("hurry", "/agreement", "Problem"),
            ("hurry", "/labelers", "Check"),
            ("world", "", ""),
            ("world", "/agreement", "Too early"),
            ("world", "/rounds/1", ""),
            ("world", f"/evaluations/{ids['evaluation']}", ""),
            ("world", f"/models/{ids['reward']}", "Too early"),
            ("world", f"/models/{ids['policy']}", ""),
        ):
            page.goto(f"{desk.url}/p/{desk.slug(project)}{path}")
            tone = page.locator("main .tone")
            assert tone.count() == 1, path
            assert tone.locator("svg").is_visible()
            assert word in tone.inner_text()
            box = tone.bounding_box()
            assert box is not None
            assert box["y"] < 400, f"{path}: the verdict is what is read first"
            desk.axe(f"{project}{path}")
            assert fits_window(page), path
        assert desk.problems == []


def _is_in_view(page: Page, locator: Locator) -> bool:
    """Return whether something is seen in whole without scrolling."""
    box, window = locator.bounding_box(), page.viewport_size
    assert box is not None, locator
    assert window is not None
    return box["y"] >= 0 and box["y"] + box["height"] <= window["height"]


def test_who_disagrees_where_and_what_to_do_is_found_in_a_few_clicks(house: House) -> None:
    with sit_down(house) as desk:
        with desk.database.transaction() as session:
            _hurry(session, desk)
        page, clicks = desk.page, Clicks()
        page.goto(f"{desk.url}/p/{desk.slug('hurry')}")
        clicks.on(page.get_by_role("link", name="Agreement").first)
        who = page.get_by_role("table", name="Agreement between labelers (%)")
        names = set(re.findall(LABELER, who.inner_text()))
        assert len(names) == 3
        clicks.on(page.get_by_role("link", name="below 60 % agreement"))
        where = page.locator("table[data-table=comparisons] tbody a").first
        clicks.on(where)
        said = page.get_by_role("table").filter(has_text="Order shown").inner_text()
        assert set(re.findall(LABELER, said)) == names
        assert page.get_by_role("button", name="Settle", exact=True).is_visible()
        assert clicks.count <= DISPUTE_CLICKS_MOST, clicks.count
        assert desk.problems == []


def test_whether_to_promote_is_seen_without_scrolling(house: House) -> None:
    with sit_down(house) as desk:
        page = desk.page
        with desk.database.transaction() as session:
            lead_world.furnish(session, desk.slug("world"), desk.user_id)
            project = session.scalars(
                select(Project).where(Project.slug == desk.slug("world"))
            ).one()
            round_ = session.scalars(select(Round).where(Round.project_id == project.id)).one()
            round_.state, round_.ended_at = RoundState.DECIDING, None
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{desk.url}/p/{desk.slug('world')}/rounds/1")
        verdict = page.locator("main :is(.verdict, .card.next)").first
        assert re.search(r"\d+ % \[\d+, \d+\]", verdict.inner_text()), verdict.inner_text()
        buttons = page.locator("button[name=promote]")
        assert buttons.count() == 2
        for shown in (verdict, buttons.first, buttons.last):
            assert _is_in_view(page, shown), shown
        assert page.locator("button.main[name=promote]").count() == 1


def test_disputed_rankings_are_settled_one_after_another_by_keys(house: House) -> None:
    with sit_down(house) as desk:
        page, keys = desk.page, desk.page.keyboard
        with desk.database.transaction() as session:
            project, (own, other, _) = _lead(
                session, desk, "ranks", judgment_kind=JudgmentKind.RANK, k=4
            )
            ids = []
            for _ in range(2):
                comparison = make_comparison(session, project, texts=TEXTS)
                vote(session, comparison, own, ranking=(1, 2, 3, 4))
                vote(session, comparison, other, ranking=(4, 3, 2, 1))
                ids.append(comparison.id)
        base = f"{desk.url}/p/{desk.slug('ranks')}/comparisons"
        page.goto(f"{base}/{ids[0]}")
        desk.axe("settling a ranking")
        page.select_option("[name=reason]", "taste")
        page.locator("body").press("Control+Enter")
        page.get_by_text("4 responses have no rank yet.").wait_for()
        for key in ("3", "1", "2"):  # the last one ranks itself
            page.locator("body").press(key)
        page.locator("body").press("=")
        page.get_by_label("Move up: D").click()
        assert page.locator("#place-3").input_value() == "2"  # it joins the tie
        keys.press("Control+Enter")
        page.wait_for_url(f"{base}/{ids[1]}")
        page.locator("#place-1").select_option("1")
        page.get_by_label("Tie with the one above: A").click()
        page.select_option("[name=reason]", "gap")
        page.get_by_role("button", name="Settle", exact=True).click()
        page.get_by_text("Settled.").wait_for()
        with desk.database.reader() as session:
            query = select(Adjudication).where(Adjudication.comparison_id.in_(ids))
            rows = session.scalars(query.order_by(Adjudication.id)).all()
            assert [row.ranking for row in rows] == [[2, 2, 1, 2], [1, 1, 3, 4]]
        assert desk.problems == []


def test_keys_do_nothing_to_a_form_that_is_folded_away(house: House) -> None:
    with sit_down(house) as desk:
        with desk.database.transaction() as session:
            project, _ = _lead(session, desk, "folded", judgment_kind="rank", k=4)
            comparison = make_comparison(session, project, texts=TEXTS)
        page = desk.page
        page.goto(f"{desk.url}/p/{desk.slug('folded')}/comparisons/{comparison.id}")
        for key in ("3", "1", "2", "Control+Enter"):
            page.locator("body").press(key)
        page.get_by_text("Settle the comparison").click()
        desk.axe("settling what nobody disputes")
        page.select_option("[name=reason]", "taste")
        page.locator("body").press("Control+Enter")
        page.get_by_text("4 responses have no rank yet.").wait_for()
        assert desk.problems == []


def test_a_ranking_is_settled_without_a_script(house: House) -> None:
    with sit_down(house, java_script_enabled=False) as desk:
        with desk.database.transaction() as session:
            project, (own, _, _) = _lead(session, desk, "plain", judgment_kind="rank", k=4)
            comparison = make_comparison(session, project, texts=TEXTS)
            vote(session, comparison, own, ranking=(1, 2, 3, 4))
        page = desk.page
        page.goto(f"{desk.url}/p/{desk.slug('plain')}/comparisons/{comparison.id}")
        page.get_by_text("Settle the comparison").click()
        for letter, rank in zip("ABCD", "2143", strict=True):
            page.get_by_label(f"Rank of {letter}").select_option(rank)
        page.select_option("[name=reason]", "gap")
        page.get_by_role("button", name="Settle", exact=True).click()
        page.get_by_text("Settled.").wait_for()
        with desk.database.reader() as session:
            query = select(Adjudication).where(Adjudication.comparison_id == comparison.id)
            assert session.scalars(query).one().ranking == [2, 1, 4, 3]


def test_the_remark_and_the_row_that_a_link_leads_to_are_in_sight(house: House) -> None:
    with sit_down(house) as desk:
        page = desk.page
        with desk.database.transaction() as session:
            _hurry(session, desk)
        page.goto(f"{desk.url}/p/{desk.slug('hurry')}/labelers")
        page.get_by_role("link", name=re.compile(r"^See L\S+ figures$")).click()
        page.wait_for_function("document.querySelector('tr:target')")
        assert page.locator("tr:target").get_by_role("link", name="check").is_visible()
        page.locator("tr:target").get_by_role("link", name="check").click()
        page.wait_for_url("**/agreement#remarks-*")
        address = page.url
        page.goto("about:blank")
        page.goto(address)
        page.evaluate("""() => {
            document.documentElement.style.overflowAnchor = "none";
            document.querySelector("h1").style.marginBlockEnd = "2000px";
        }""")
        place = "document.querySelector(':target').getBoundingClientRect()"
        seen = f"{place}.top >= 0 && {place}.bottom <= innerHeight"
        page.wait_for_function(seen, timeout=5_000)
