"""A labeler at the desk: a served application, a real Chromium, and a project of each kind."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Comparison, Completion, Criterion, Judgment, Project, Prompt, Role
from app.services.people import accounts, login_sessions
from app.services.queue import practice_standing
from tests.services import sample

CHROMIUM = "/usr/bin/chromium"
AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
WIDTHS = {"wide": (1280, 800), "phone": (380, 760), "narrow": (320, 640)}
_OTHERS = [("wide", "dark"), ("phone", "light")]
LOOKS = [
    pytest.param("wide", "light"),
    pytest.param("phone", "dark"),
    *(pytest.param(*look, marks=pytest.mark.slow) for look in _OTHERS),
]
"""Widths and schemes of pages: room and colours do not depend on each other, so each comes once.

The slow run has the other two pairs.
"""
KINDS = {"pick": 2, "rank": 4, "rate": 2, "thumbs": 1, "write": 0, "edit": 1}
CRITERIA = (("helpful", "Does it do what was asked?"), ("correct", "Are its facts right?"))
HEBREW = (
    "שאלה {}: מה שעות הפתיחה של הספרייה?",
    "תשובה {}.{}: הספרייה פתוחה בכל יום עד שמונה בערב.",
)
STATES: list[str] = []
"""The states in which axe has looked at a page in this process."""

_numbers = count(1)

_VIOLATIONS = """(tags) => axe.run({ runOnly: tags, resultTypes: ["violations"] }).then(
  (found) => found.violations.map((one) =>
    one.id + ": " + one.nodes.map((node) => node.target.join(" ")).join(", ")))"""
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@dataclass
class House:
    """The application that all desks of this worker share."""

    browser: Browser
    url: str
    database: Database


@dataclass
class Desk:
    """Where one labeler works; `problems` holds what the browser complained about."""

    page: Page
    house: House
    email: str
    user_id: int
    prefix: str
    problems: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The application's address."""
        return self.house.url

    @property
    def database(self) -> Database:
        """The application's database."""
        return self.house.database

    def slug(self, kind: str) -> str:
        """Return the slug of this labeler's project of a kind; of anybody's without a prefix."""
        return f"{self.prefix}-{kind}" if self.prefix else kind

    def furnish(
        self, *kinds: str, comparisons: int = 3, hebrew: bool = False, **columns: Any
    ) -> None:
        """Make a project of each kind, with comparisons to judge."""
        with self.database.transaction() as session:
            for kind in kinds:
                _furnish(session, self, kind, comparisons, hebrew, columns)

    def open(self, kind: str) -> None:
        """Open the labeling page and wait for its script."""
        self.page.goto(f"{self.url}/p/{self.slug(kind)}/label")
        self.ready()

    def ready(self) -> None:
        """Wait until the comparison is drawn."""
        self.page.wait_for_selector("html[data-ready]")
        self.page.wait_for_selector("#work .prompt")

    def prompt(self) -> str:
        """Return the prompt on screen, by which comparisons are told apart."""
        return self.page.locator("#work .prompt").inner_text()

    def text(self) -> str:
        """Return the text of the answers."""
        return "|".join(sorted(self.page.locator("#work .cand .text").all_inner_texts()))

    def next(self, before: str) -> None:
        """Wait until another comparison, or the end of the work, is on screen."""
        self.page.wait_for_function(
            "(before) => document.querySelector('#work .prompt')?.innerText !== before", arg=before
        )

    def saved(self, kind: str, count: int) -> list[Judgment]:
        """Wait until the server has so many current judgments; return them."""
        for _ in range(100):
            rows = self.current(kind)
            status = self.page.locator("#status").inner_text()
            if len(rows) == count and not re.search("Saving|not saved", status):
                break
            self.page.wait_for_timeout(50)
        assert len(rows) == count
        return rows

    def axe(self, state: str) -> None:
        """Find no violation of WCAG 2.2 AA, in whatever is on screen."""
        if not AXE.exists():
            pytest.skip("axe-core is not installed: run npm install")
        if not self.page.evaluate("() => Boolean(window.axe)"):
            self.page.evaluate(AXE.read_text())
        size = self.page.viewport_size
        assert size is not None
        self.page.set_viewport_size(
            {"width": size["width"], "height": 2400}
        )  # nothing half under the bar
        found = self.page.evaluate(_VIOLATIONS, _TAGS)
        STATES.append(state)
        if size["height"] < 2400:
            self.page.set_viewport_size(size)
        assert found == [], f"{state}: {found}"

    def fits(self) -> None:
        """Nothing is wider than the window, and the foot bar is one row."""
        page = self.page
        assert fits_window(page)
        assert page.locator("#foot").evaluate("(foot) => foot.offsetHeight") < 80

    def current(self, kind: str) -> list[Judgment]:
        """Return the judgments that stand."""
        with self.database.reader() as session:
            return list(
                session.scalars(
                    select(Judgment)
                    .join(Project, Project.id == Judgment.project_id)
                    .where(
                        Project.slug == self.slug(kind),
                        Judgment.is_current,
                        ~Judgment.is_retraction,
                    )
                    .order_by(Judgment.id)
                )
            )


def fits_window(page: Page) -> bool:
    """Return whether a page is no wider than its window without the scrollbar."""
    found: bool = page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def sit_down(house: House, width: str = "wide", **options: Any) -> Iterator[Desk]:
    """Open a window for a new labeler who is signed in; no complaint of the browser may be left."""
    w, h = WIDTHS[width]
    context = house.browser.new_context(viewport={"width": w, "height": h}, **options)
    context.set_default_timeout(20_000)
    prefix = f"desk{next(_numbers)}"
    with house.database.transaction() as session:
        email = f"{prefix}@example.org"
        user = accounts.create_user(session, email=email, name="Ada", password=None)
        secret = login_sessions.begin(session, user.id).secret
        user_id = user.id
    context.add_cookies([{"name": "attune", "value": secret, "url": house.url}])
    page = context.new_page()
    desk = Desk(page, house, email, user_id, prefix)
    page.on("pageerror", lambda error: desk.problems.append(str(error)))
    page.on(
        "console",
        lambda said: desk.problems.append(said.text) if said.type in {"error", "warning"} else None,
    )
    yield desk
    context.close()


def _furnish(
    session: Session, desk: Desk, kind: str, comparisons: int, hebrew: bool, columns: dict[str, Any]
) -> None:
    options = {"k": KINDS[kind], "overlap": 1, "name": f"Desk {kind}"} | columns
    project = sample.make_project(
        session, slug=desk.slug(kind), judgment_kind=JudgmentKind(kind), **options
    )
    accounts.add_member(session, project.id, desk.user_id, Role.LABELER, actor_id=None)
    practice_standing.dismiss_guide(session, project.id, desk.user_id)
    sample.read_guidelines(session, project, desk.user_id)
    if kind == "rate":
        session.add_all(
            Criterion(project_id=project.id, name=name, help=help, position=at)
            for at, (name, help) in enumerate(CRITERIA)
        )
    for number in range(comparisons):
        comparison = sample.make_comparison(session, project)
        if hebrew:
            _translate(session, comparison, number)


def _translate(session: Session, comparison: Comparison, number: int) -> None:
    question, answer = HEBREW
    prompt = session.get_one(Prompt, comparison.prompt_id)
    prompt.messages = [{"role": "user", "content": question.format(number)}]
    for at, one in enumerate(
        session.scalars(select(Completion).where(Completion.prompt_id == prompt.id))
    ):
        one.text = answer.format(number, at)
