"""Charts in a real browser: read by keys, zoomed, smoothed, drawn over each other, and saved."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Locator, expect

from app.domain.states import JobState
from app.models import Job, Metric, Role
from app.services.jobs import training_curves
from app.services.people import accounts
from tests.browser.desk import LOOKS, Desk, House, fits_window, sit_down
from tests.services import sample
from tests.services.rounds import trained

pytestmark = pytest.mark.browser

SVG = "{http://www.w3.org/2000/svg}"
STEPS = 120
_UNFOLD = "document.querySelectorAll('details').forEach((one) => (one.open = true))"
_IS_WHOLE = """(article) =>
  article.querySelector("path.chart-line").getAttribute("d").match(/L/g).length > 40"""


@dataclass
class Wall:
    """A lead before the charts of a project with two rounds."""

    desk: Desk
    jobs: list[int]

    def open(self, query: str = "") -> None:
        """Open the page of the second round's policy."""
        self.desk.page.goto(f"{self.root}/runs/{self.jobs[1]}{query}")

    @property
    def root(self) -> str:
        return f"{self.desk.url}/p/{self.desk.slug('runs')}/rounds"

    def chart(self, title: str) -> Locator:
        heading = self.desk.page.get_by_role("heading", name=title, exact=True)
        return self.desk.page.locator("article.chart").filter(has=heading)


@contextmanager
def hung(house: House, width: str = "wide", steps: int = STEPS, **options: Any) -> Iterator[Wall]:
    """Give a lead whose project has two rounds; nothing may be complained about."""
    with sit_down(house, width, **options) as desk:
        with desk.database.transaction() as session:
            project = sample.make_project(session, slug=desk.slug("runs"), name="Library desk")
            accounts.add_member(session, project.id, desk.user_id, Role.LEAD, actor_id=None)
            jobs = [job.id for job in trained.two_rounds(session, project, steps)]
        yield Wall(desk, jobs)
        assert desk.problems == []


def _js(name: str) -> str:
    return (Path(__file__).parent / f"{name}.js").read_text()


def _said(chart: Locator) -> str:
    return chart.get_by_role("slider").get_attribute("aria-valuetext") or ""


def test_scales_and_series_are_right(house: House) -> None:
    with sit_down(house) as desk:
        desk.page.goto(f"{desk.url}/account")
        assert desk.page.evaluate(_js("chart_scales")) == []
        assert desk.page.evaluate(_js("chart_series")) == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_charts_fit_and_have_no_violations(house: House, width: str, scheme: str) -> None:
    with hung(house, width, color_scheme=scheme) as wall:
        page = wall.desk.page
        for path in ("/2", f"/runs/{wall.jobs[1]}?over={wall.jobs[0]}"):
            page.goto(wall.root + path)
            wall.chart("KL to SFT").get_by_role("slider").focus()
            wall.chart("KL to SFT").get_by_role("button", name="Zoom in").click()
            page.evaluate(
                "document.querySelectorAll('details').forEach((one) => (one.open = true))"
            )
            wall.desk.axe(f"charts {path}")
            assert fits_window(page), path
            assert page.evaluate(_js("chart_labels")) == [], path


def test_a_chart_is_read_and_zoomed_by_keys(house: House) -> None:
    with hung(house) as wall:
        page, keys = wall.desk.page, wall.desk.page.keyboard
        wall.open()
        chart = wall.chart("KL to SFT")
        slider = chart.get_by_role("slider", name="KL to SFT: values by step")
        slider.focus()
        assert _said(chart).startswith(f"Step {STEPS}, training ")
        assert trained.ALARM in _said(chart), "the mark of an alarm says why"
        keys.press("ArrowLeft")
        assert _said(chart).startswith(f"Step {STEPS - 1}, training ")
        assert f"at {STEPS - 10}" in _said(chart), "held-out: the last evaluation"
        assert trained.ALARM not in _said(chart)
        keys.press("Home")
        curve = trained.policy_curves(STEPS, seed=2)["kl/k1"]
        assert _said(chart).startswith(f"Step 1, training {curve[1]:.2f} nats")
        assert slider.get_attribute("aria-valuenow") == "1"
        keys.press("PageUp")
        assert _said(chart).startswith("Step 13, ")
        expect(chart.get_by_role("button", name="Reset the zoom")).to_be_hidden()
        before = chart.locator("path.chart-line").first.get_attribute("d")
        keys.press("+")
        expect(chart.get_by_role("button", name="Reset the zoom")).to_be_visible()
        assert chart.locator("path.chart-line").first.get_attribute("d") != before
        keys.press("End")  # beyond the window, which moves along
        assert _said(chart).startswith(f"Step {STEPS}, ")
        assert chart.locator(".chart-cross-line").count() == 1
        keys.press("0")
        assert chart.locator("path.chart-line").first.get_attribute("d") == before
        keys.press("Tab")
        assert chart.locator(".chart-cross-line").count() == 0
        assert page.locator("article.chart").count() == 5


def test_a_chart_is_zoomed_by_dragging_and_smoothed_with_a_name(house: House) -> None:
    with hung(house) as wall:
        page = wall.desk.page
        wall.open()
        chart = wall.chart("Reward")
        box = chart.locator(".chart-plot").bounding_box()
        assert box is not None
        line = chart.locator("path.chart-line")
        whole = line.first.get_attribute("d") or ""
        page.mouse.move(box["x"] + 200, box["y"] + 80)
        page.mouse.down()
        page.mouse.move(box["x"] + 320, box["y"] + 90, steps=4)
        assert chart.locator(".chart-selection").count() == 1
        page.mouse.up()
        part = line.first.get_attribute("d") or ""
        assert part.count("L") < whole.count("L") / 2
        page.mouse.dblclick(box["x"] + 200, box["y"] + 80)
        assert line.first.get_attribute("d") == whole
        assert line.count() == 2
        chart.get_by_label("Smoothing").select_option("EMA 0.9")
        assert line.count() == 4
        faint = chart.locator("path.chart-line.faint")
        assert faint.count() == 2
        assert faint.first.get_attribute("d") == whole, "the raw line stays"
        assert line.nth(1).get_attribute("d") != whole
        chart.get_by_role("slider").focus()
        assert "smoothed" in _said(chart)
        chart.get_by_role("button", name="held-out").click()
        assert line.count() == 2
        assert "held-out" not in _said(chart)


def test_other_runs_are_drawn_over_and_files_hold_what_is_drawn(house: House) -> None:
    with hung(house) as wall:
        page = wall.desk.page
        wall.open()
        page.get_by_label("Round 1").check()
        page.get_by_role("button", name="Show").click()
        page.wait_for_url(f"**over={wall.jobs[0]}")
        chart = wall.chart("KL to SFT")
        expect(chart.get_by_role("button", name="Round 1, training")).to_be_visible()
        assert chart.locator("path.chart-line").count() == 4
        names = {}
        for kind, role in (("CSV", "link"), ("SVG", "button"), ("PNG", "button")):
            with page.expect_download() as download:
                chart.get_by_role(role, name=f"{kind} of KL to SFT").click()  # type: ignore[arg-type]
            names[kind] = download.value
        stem = f"{wall.desk.slug('runs')}-round-2-policy-kl-to-sft"
        assert {one.suggested_filename for one in names.values()} == {
            f"{stem}.csv", f"{stem}.svg", f"{stem}.png",
        }  # fmt: skip
        with names["CSV"].path().open(newline="") as file:
            rows = list(csv.DictReader(file))
        for number in (1, 2):
            own = [r for r in rows if (r["run"], r["line"]) == (f"Round {number}", "training")]
            curve = trained.policy_curves(STEPS, seed=number)["kl/k1"]
            assert {int(row["step"]): float(row["value"]) for row in own} == curve
        picture = ElementTree.parse(names["SVG"].path()).getroot()
        lines = [p for p in picture.iter(f"{SVG}path") if (p.get("d") or "").count("L") >= 11]
        assert len(lines) == 4
        assert all("rgb" in (line.get("stroke") or "") for line in lines)
        assert {line.get("stroke-dasharray") for line in lines} == {None, "5px, 3px"}
        words = " ".join(text.text or "" for text in picture.iter(f"{SVG}text"))
        assert all(word in words for word in (stem, "Round 1, held-out", "KL per response (nats)"))
        fills = {text.text: text.get("fill") for text in picture.iter(f"{SVG}text")}
        assert fills["▲ alarm"] != fills["kept"], "colors of the page, in the file"
        assert "style" not in ElementTree.tostring(picture, encoding="unicode")
        content = names["PNG"].path().read_bytes()
        assert content.startswith(b"\x89PNG")
        assert int.from_bytes(content[16:20]) == 2 * 984


def test_zooming_into_a_thinned_out_run_loads_every_step(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_curves, "MOST_POINTS", 20)
    with hung(house) as wall:
        wall.open()
        chart = wall.chart("Reward")
        expect(chart.get_by_text("One of 6 points is drawn")).to_be_visible()
        chart.get_by_role("slider").focus()
        wall.desk.page.keyboard.press("Home")
        wall.desk.page.keyboard.press("ArrowRight")
        assert _said(chart).startswith("Step 7, ")
        with wall.desk.page.expect_response("**/points.csv*"):
            wall.desk.page.keyboard.press("+")
        wall.desk.page.wait_for_function(_IS_WHOLE, arg=chart.element_handle())
        wall.desk.page.keyboard.press("ArrowRight")
        assert _said(chart).startswith("Step 8, ")


def test_ten_thousand_points_need_few_shapes_and_every_peak_is_seen(house: House) -> None:
    with sit_down(house) as desk:
        page = desk.page
        page.goto(f"{desk.url}/account")
        shapes, longest, top = page.evaluate(_js("chart_many_points"))
        assert shapes < 60
        assert longest <= 4 * 380
        assert top


def test_live_charts_keep_their_zoom_and_take_new_values_even_while_they_are_read(
    house: House,
) -> None:
    with hung(house) as wall:
        page = wall.desk.page
        with wall.desk.database.transaction() as session:
            job = session.get_one(Job, wall.jobs[1])
            job.state = JobState.RUNNING
        wall.open()
        chart = wall.chart("Response length")
        chart.get_by_label("Smoothing").select_option("EMA 0.6")
        chart.get_by_role("button", name="Zoom in").click()
        chart.get_by_text("View as table").click()
        slider = chart.get_by_role("slider")
        slider.focus()
        drawn = slider.element_handle()
        _log(wall, STEPS + 1)
        expect(slider).to_have_attribute("aria-valuemax", str(STEPS + 1), timeout=20_000)
        assert page.evaluate("(one) => one === document.activeElement", drawn), "it has the focus"
        page.evaluate("document.activeElement.blur()")
        _log(wall, STEPS + 2)
        expect(slider).to_have_attribute("aria-valuemax", str(STEPS + 2), timeout=20_000)
        assert not page.evaluate("(one) => one.isConnected", drawn), "the page was refreshed"
        expect(chart.get_by_role("button", name="Reset the zoom")).to_be_visible()
        expect(chart.get_by_label("Smoothing")).to_have_value("0.6")
        unfolded = page.locator("details[open]")  # as the reader left them, in the new fragment
        expect(unfolded).to_have_count(1)
        assert chart.locator("details[open]").count() == 1


def _log(wall: Wall, step: int) -> None:
    with wall.desk.database.transaction() as session:
        session.add(Metric(job_id=wall.jobs[1], name="length/mean", step=step, value=60.0))


def test_without_a_script_a_page_shows_the_tables(house: House) -> None:
    with hung(house, java_script_enabled=False) as wall:
        page = wall.desk.page
        wall.open()
        table = wall.chart("Entropy").get_by_role("table")
        expect(table.get_by_role("cell").last).to_be_visible()
        assert table.get_by_role("row").count() == 13
        expect(wall.chart("Entropy").get_by_role("button")).to_have_count(0)
        wall.chart("Entropy").get_by_role("link", name="All points as a table").click()
        assert page.get_by_role("row").count() == STEPS + 1
