"""A labeler at the desk: a served application, a real Chromium, and two projects to label."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import select

from app.db import Database
from app.models import Judgment, JudgmentKind, Project, Role
from app.services import accounts
from tests.conftest import PASSWORD
from tests.services import bench

CHROMIUM = "/usr/bin/chromium"
WIDTHS = {"wide": (1280, 800), "phone": (380, 760)}


@dataclass
class Desk:
    """Where the labeler works; `problems` holds what the browser complained about."""

    page: Page
    url: str
    database: Database
    problems: list[str]

    def sign_in(self) -> None:
        """Sign in by keyboard alone."""
        self.page.goto(f"{self.url}/sign-in")
        self.page.locator("[name=email]").focus()
        self.page.keyboard.type("ada@example.org")
        self.page.keyboard.press("Tab")
        self.page.keyboard.type(PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(f"{self.url}/")

    def open(self, slug: str) -> None:
        """Open the labeling page and wait for its script."""
        self.page.goto(f"{self.url}/p/{slug}/label")
        self.ready()

    def ready(self) -> None:
        """Wait until the comparison is drawn."""
        self.page.wait_for_selector("html[data-ready]")
        self.page.wait_for_selector("#work .cand")

    def saved(self, slug: str, count: int) -> list[Judgment]:
        """Wait until the server has so many current judgments; return them."""
        for _ in range(100):
            rows = self._current(slug)
            status = self.page.locator("#status").inner_text()
            if len(rows) == count and not re.search("Saving|not saved", status):
                break
            self.page.wait_for_timeout(100)
        assert len(rows) == count
        return rows

    def _current(self, slug: str) -> list[Judgment]:
        with self.database.reader() as session:
            return list(
                session.scalars(
                    select(Judgment)
                    .join(Project, Project.id == Judgment.project_id)
                    .where(Project.slug == slug, Judgment.is_current, ~Judgment.is_retraction)
                    .order_by(Judgment.id)
                )
            )

    def text(self) -> str:
        """Return the text of the answers, by which comparisons are told apart."""
        self.page.wait_for_selector("#work .cand")  # a slow server may still fetch it
        return "|".join(sorted(self.page.locator("#work .cand .text").all_inner_texts()))


def furnish(database: Database, comparisons: int = 13) -> None:
    """Make a labeler and a project of each kind."""
    with database.transaction() as session:
        user = accounts.create_user(session, email="ada@example.org", name="Ada", password=PASSWORD)
        for kind, k in ((JudgmentKind.PICK, 2), (JudgmentKind.RANK, 4)):
            project = bench.make_project(
                session, slug=str(kind), name=f"Desk {kind}", judgment_kind=kind, k=k, overlap=1
            )
            accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
            for _ in range(comparisons):
                bench.make_comparison(session, project)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def sit_down(
    browser: Browser, url: str, database: Database, width: str = "wide", **options: Any
) -> Iterator[Desk]:
    """Open a window at the desk; whatever the browser complains about fails the test."""
    w, h = WIDTHS[width]
    context = browser.new_context(viewport={"width": w, "height": h}, **options)
    context.set_default_timeout(20_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda said: problems.append(said.text) if said.type in {"error", "warning"} else None,
    )
    yield Desk(page, url, database, problems)
    context.close()
