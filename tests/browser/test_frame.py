"""What every page has: places, palette, tables with tools, times, and few bytes to fetch."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import select

from app.db import now
from app.models import Checkpoint, CheckpointKind, Project, Role
from app.services.people import accounts
from app.services.project import projects
from tests.browser import gallery
from tests.browser.desk import AXE, Desk, House, fits_window, sit_down
from tests.services import sample

pytestmark = pytest.mark.browser

LABEL_MOST, LEAD_MOST = 80_000, 120_000  # bytes that a first visit fetches
NAMES = ("Delta", "Alpha", "Charlie", "Bravo", "Echo", "Foxtrot")
SCORES = (0.5, 0.9, 0.7, 0.6, 0.8, 0.75)


def _lead(desk: Desk) -> str:
    """Make a project with a few models, led by the person at the desk; return its address."""
    with desk.database.transaction() as session:
        project = sample.make_project(session, slug=desk.slug("lead"), name="Library desk")
        accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
        for name, score in zip(NAMES, SCORES, strict=True):
            session.add(
                Checkpoint(
                    project_id=project.id,
                    kind=CheckpointKind.POLICY,
                    name=name,
                    uri=name,
                    state="ready",
                    config={},
                    metrics={"heldout/loss": score},
                    created_at=now(session),
                )
            )
    return f"{desk.url}/p/{desk.slug('lead')}"


def _axe(page: Page) -> None:
    """Find nothing to say, of whatever impact."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run npm install")
    page.evaluate(AXE.read_text())
    assert page.evaluate(gallery.AXE_RUN) == []


@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_the_palette_leads_anywhere_by_keys(house: House, width: str, scheme: str) -> None:
    with sit_down(house, width, color_scheme=scheme, reduced_motion="reduce") as desk:
        page, keys = desk.page, desk.page.keyboard
        page.goto(_lead(desk))
        opener = page.get_by_role("button", name="Go to")
        opener.focus()
        keys.press("Control+k")
        options = page.locator(".palette [role=option]")
        expect(options.first).to_be_visible()
        _axe(page)
        keys.type("agree")
        expect(options).to_have_count(1)
        field = page.get_by_role("combobox", name="Go to")
        assert field.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
        expect(page.locator(".palette .said")).to_have_text("1 place")
        keys.type(" nowhere")
        expect(page.locator(".palette .said")).to_have_text("No places found.")
        keys.press("Escape")
        expect(page.locator(".palette")).to_be_hidden()
        expect(opener).to_be_focused()
        opener.click()
        keys.type("rou")
        expect(page.locator(".palette mark").first).to_have_text("Rou")
        keys.press("ArrowDown")
        keys.press("ArrowUp")
        assert page.locator(".palette [aria-selected=true]").count() == 1
        keys.press("Enter")
        page.wait_for_url("**/rounds")
        assert fits_window(page)
        assert desk.problems == []


def test_letters_typed_before_the_palette_is_fetched_are_kept(house: House) -> None:
    with sit_down(house, "wide") as desk:
        page = desk.page
        held: list[Route] = []
        page.route("**/static/base/palette.js", lambda route: held.append(route))
        page.goto(_lead(desk))
        with page.expect_request("**/static/base/palette.js"):
            page.keyboard.press("Control+k")
        page.keyboard.type("agree")
        held[0].continue_()
        expect(page.locator(".palette [role=option]")).to_have_count(1)
        expect(page.get_by_role("combobox", name="Go to")).to_have_value("agree")


def test_a_place_chosen_while_the_palette_is_fetched_again_stays_chosen(house: House) -> None:
    with sit_down(house, "wide") as desk:
        page, keys = desk.page, desk.page.keyboard
        page.goto(_lead(desk))
        keys.press("Control+k")
        expect(page.locator(".palette .said")).to_contain_text("places")
        keys.press("Escape")
        held: list[Route] = []
        page.route("**/api/v1/commands*", lambda route: held.append(route))
        keys.press("Control+k")
        expect(page.locator(".palette .said")).to_have_text("Loading …")
        keys.type("rou")
        expect(page.locator(".palette mark").first).to_have_text("Rou")
        keys.press("ArrowDown")
        chosen = page.locator(".palette [aria-selected=true]")
        before = chosen.text_content()
        page.locator(".palette li").first.evaluate("item => item.classList.add('drawn-before')")
        held[0].continue_()
        expect(page.locator(".palette .drawn-before")).to_have_count(0)
        expect(chosen).to_have_text(before or "")
        assert chosen.text_content() != page.locator(".palette [role=option]").first.text_content()


def test_the_places_open_on_a_phone_without_a_script(house: House) -> None:
    with sit_down(house, "phone", java_script_enabled=False) as desk:
        page = desk.page
        page.goto(_lead(desk))
        places = page.get_by_role("navigation", name="Project")
        expect(places).to_be_hidden()
        page.get_by_role("button", name="Menu").click()
        expect(places.get_by_role("link", name="Overview")).to_have_attribute(
            "aria-current", "page"
        )
        places.get_by_role("link", name="Models").click()
        page.wait_for_url("**/models")
        assert page.get_by_role("button", name="Columns").count() == 0
        assert page.locator("tbody time").first.inner_text().endswith(" UTC")


def _column(page: Page, number: int) -> list[str]:
    cells = page.locator(f"tbody tr:visible td:nth-child({number})").all_inner_texts()
    return [text.strip() for text in cells]


def test_a_table_is_sorted_searched_and_narrowed(house: House) -> None:
    with sit_down(house) as desk:
        page = desk.page
        address = f"{_lead(desk)}/models"
        page.goto(address)
        page.get_by_role("button", name="Model").click()
        assert _column(page, 1) == sorted(NAMES)
        header = page.get_by_role("columnheader", name="Model")
        expect(header).to_have_attribute("aria-sort", "ascending")
        page.get_by_role("button", name="Model").click()
        assert page.url == f"{address}?sort=model&order=desc"
        page.reload()  # a bookmark keeps the order
        expect(header).to_have_attribute("aria-sort", "descending")
        assert _column(page, 1) == sorted(NAMES, reverse=True)
        page.get_by_role("button", name="Model").click()
        assert page.locator("[aria-sort]").count() == 0
        assert page.url == address
        page.get_by_role("button", name="Results").click()
        by_loss = [name for _, name in sorted(zip(SCORES, NAMES, strict=True))]
        assert _column(page, 1) == by_loss
        page.get_by_role("searchbox", name="Find in this table").fill("alp")
        assert _column(page, 1) == ["Alpha"]
        expect(page.get_by_role("status").filter(has_text="1 of 6 rows")).to_be_visible()
        page.get_by_text("Columns").click()
        page.get_by_label("Kind").uncheck()
        _axe(page)
        page.reload()
        expect(page.get_by_text("Columns (1 hidden)")).to_be_visible()
        expect(page.get_by_role("columnheader", name="Kind")).to_be_hidden()
        assert _column(page, 1)[0] in NAMES
        assert desk.problems == []


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_the_columns_are_chosen_beside_the_heading_of_a_page(house: House, width: str) -> None:
    with sit_down(house, width) as desk:
        page = desk.page
        address = _lead(desk)
        with desk.database.transaction() as session:
            project = projects.by_slug(session, desk.slug("lead"))
            for model in session.scalars(
                select(Checkpoint).where(Checkpoint.project_id == project.id).offset(1)
            ):
                session.delete(model)
        page.goto(f"{address}/models")
        button = page.locator(".page > .row:has(> h1)").get_by_text("Columns")
        button.click()
        menu = page.locator(".column-choice .menu-body")
        expect(menu).to_be_visible()
        box = menu.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        page.get_by_label("Kind").uncheck()
        expect(page.get_by_role("columnheader", name="Kind")).to_be_hidden()
        expect(page.locator(".table-tools")).to_have_count(0)
        _axe(page)


def test_the_columns_of_a_card_are_chosen_beside_its_own_heading(house: House) -> None:
    with sit_down(house) as desk:
        desk.page.goto(f"{_lead(desk)}/guidelines")
        desk.page.evaluate(
            """async () => {
                const made = (tag, ...children) => {
                    const element = document.createElement(tag);
                    element.append(...children);
                    return element;
                };
                const row = (tag) => made("tr", ...["A", "B", "C"].map((text) => made(tag, text)));
                const table = made("table", made("thead", row("th")), made("tbody", row("td")));
                table.dataset.table = "made";
                const card = made("section", made("h2", "Labelers"), table);
                Object.assign(card, { className: "card", id: "made" });
                document.querySelector("main").append(card);
                (await import("/static/base/tables.js")).equip(card);
            }"""
        )
        row = desk.page.locator("#made > .row:has(> h2)")
        expect(row.get_by_text("Columns")).to_be_visible()
        expect(desk.page.locator(".page > .row:has(> h1) .column-choice")).to_have_count(0)


@pytest.mark.parametrize("width", ["wide", "phone"])
def test_how_search_works_is_told_in_the_field_and_moves_nothing(house: House, width: str) -> None:
    with sit_down(house, width) as desk:
        page = desk.page
        address = _lead(desk)
        with desk.database.transaction() as session:
            sample.make_comparison(session, projects.by_slug(session, desk.slug("lead")))
        page.goto(f"{address}/comparisons")
        field = page.get_by_role("searchbox", name="Search comparisons")
        expect(field).to_have_accessible_description(re.compile("each by its beginning"))
        told = page.get_by_text("each by its beginning")
        expect(told).to_be_hidden()
        table = page.get_by_role("region", name="Comparisons")
        before = table.bounding_box()
        field.focus()
        expect(told).to_be_visible()
        _axe(page)
        assert table.bounding_box() == before
        assert page.locator("form[role=search]").get_by_text("Columns").is_visible()


def test_a_moment_stays_on_one_line_however_narrow_its_cell(house: House) -> None:
    with sit_down(house, "phone") as desk:
        desk.page.goto(f"{_lead(desk)}/models")
        moment = desk.page.locator("tbody time").first
        moment.evaluate(
            "(time) => { const cell = time.closest('td'); cell.className = '';"
            " Object.assign(cell.style, { display: 'block', inlineSize: '4rem' }); }"
        )
        assert moment.evaluate("(time) => time.getClientRects().length") == 1


@pytest.fixture
def traveler(house: House) -> Iterator[Desk]:
    """Give a lead whose clock is nine hours ahead of the server's."""
    with sit_down(house, timezone_id="Asia/Tokyo") as desk:
        yield desk


def test_times_are_in_the_zone_of_the_reader(traveler: Desk) -> None:
    page = traveler.page
    address = _lead(traveler)
    with traveler.database.transaction() as session:
        project = session.query(Project).filter_by(slug=traveler.slug("lead")).one()
        moment = now(session).replace(year=2026, month=3, day=1, hour=20, minute=15)
        for model in session.query(Checkpoint).filter_by(project_id=project.id):
            model.created_at = moment
    page.goto(f"{address}/models")
    time = page.locator("tbody time").first
    expect(time).to_have_text("2026-03-02 05:15")
    expect(time).to_have_attribute("title", "2026-03-01 20:15 UTC")
    page.locator("header .menu > summary").click()
    expect(page.get_by_text("Times are in Asia/Tokyo")).to_be_visible()


def test_pages_fetch_little(house: House) -> None:
    with sit_down(house) as desk:
        desk.furnish("pick", "rank")
        page = desk.page
        address = _lead(desk)
        fetched: dict[str, int] = {}
        page.on(
            "requestfinished",
            lambda request: fetched.update({request.url: request.sizes()["responseBodySize"]}),
        )
        for path, most in (
            (f"{desk.url}/p/{desk.slug('pick')}/label", LABEL_MOST),
            (f"{desk.url}/p/{desk.slug('rank')}/label", LABEL_MOST),
            (address, LEAD_MOST),
            (f"{address}/rounds/new", LEAD_MOST),
            (f"{address}/models", LEAD_MOST),
        ):
            fetched.clear()
            page.goto(path, wait_until="networkidle")
            assert len(fetched) > 4
            assert sum(fetched.values()) <= most, fetched
