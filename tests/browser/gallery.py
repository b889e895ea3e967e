"""Photographs every page: empty and full, light and dark, wide and on a phone.

Not a test: it shows people what the tests cannot judge. Run it with

    python -m tests.browser.gallery FOLDER [--only REGEX] [--axe]

It writes a picture per page and look, and `index.html` with the looks of a page side by side. With
`--axe` it writes no pictures: it looks for violations of accessibility rules of every impact on
every page, at three widths, in both themes, in forced colors and at a zoom of 200 %, and for pages
that are wider than their window; it exits with 1 if it finds any.
"""

import argparse
import html
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page
from sqlalchemy import String, select, update

from app.bench import judged
from app.db import Database, now, schema
from app.main import create_app
from app.models import User, WorkerHeartbeat
from app.services.people import accounts, login_sessions
from app.services.project import projects
from app.settings import Settings
from tests.browser import every_page, lead_world, planted
from tests.browser.desk import AXE, chromium, fits_window
from tests.live import serve
from tests.web.routes import routes_of

PARTS = ("/live", "/steps", "/pushes", "/base-model")  # of pages, fetched by scripts
JUDGMENTS = 1000
FULL, WORLD, EMPTY = "bench", "library", "new-project"
WORDS = {
    "project.name": "Library help desk",
    "project.description": "What readers ask at the desk, and how it should be answered.",
    "guidelines.rules": "Prefer the response that answers the question.\n\n- Be brief.\n- Be kind.",
    "completion.text": "You can renew a book twice: at the desk, or online with your card.",
    "user.name": "Ada",
}


Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at."""

    name: str
    width: int
    scheme: Scheme = "light"
    is_forced: bool = False


PICTURES = [Look(f"{scheme}-{width}", width, scheme) for scheme in SCHEMES for width in (1440, 380)]
CHECKS = [
    *(Look(f"{scheme}-{width}", width, scheme) for scheme in SCHEMES for width in (1280, 380, 320)),
    Look("forced-1280", 1280, is_forced=True),
    Look("zoom-200", 640),  # what 1280 pixels show at 200 %
]


@dataclass(frozen=True, slots=True)
class World:
    """A served installation, the cookie of somebody in it, and the pages to open."""

    name: str
    url: str
    cookie: str | None
    paths: list[str]


@contextmanager
def worlds(folder: Path) -> Iterator[list[World]]:
    """Serve an installation full of work, an empty one, and the pages before signing in."""
    full, empty = _database(folder / "full"), _database(folder / "empty")
    with serve(_application(folder / "full", full)) as full_url:
        application = _application(folder / "empty", empty)
        with serve(application) as empty_url:
            routes = routes_of(application)
            yield [
                World("full", full_url, *_fill(full, routes)),
                World("empty", empty_url, *_found(empty, routes)),
                World("outside", empty_url, None, ["/sign-in", "/no-such-page"]),
            ]
    full.dispose()
    empty.dispose()


def _database(folder: Path) -> Database:
    folder.mkdir(parents=True)
    database = Database(f"sqlite:///{folder}/attune.sqlite3")
    schema.upgrade(database.engine)
    return database


def _application(folder: Path, database: Database) -> Any:
    settings = Settings(
        data_dir=folder,
        database_url=f"sqlite:///{folder}/attune.sqlite3",
        secret_key="s" * 40,
        allowed_base_models="*",
    )
    return create_app(settings, database)


def _fill(database: Database, routes: list[Any]) -> tuple[str, list[str]]:
    """Fill an installation: a project of 1,000 judgments, one amid its work, a row of each table.

    Returns a cookie of its administrator, and the pages.
    """
    judged.seed(database, JUDGMENTS)
    with database.transaction() as session:
        renamed = "bench-" + User.email  # the rows of the tests are named alike
        session.execute(update(User).where(User.email.like("l%@example.org")).values(email=renamed))
        user = session.scalars(select(User).where(User.email == "bench-lead@example.org")).one()
        ids = planted.make_rows(session)
        _write_words(session)
        shown = lead_world.furnish(session, WORLD, user.id)
        for worker in session.scalars(select(WorkerHeartbeat)):
            worker.queues, worker.seen_at = ["cpu", "gpu"], now(session)
        cookie = login_sessions.begin(session, user.id).secret
    own: dict[str, list[int | str]] = {
        "evaluation_id": [shown["evaluation"]],
        "judge_id": [shown["judge"]],
        "checkpoint_id": [shown["policy"], shown["reward"]],
        "scoring_id": [shown["scored"], shown["queued"]],
        "chat_id": [shown["chat"]],
    }
    paths: list[str] = []
    for route in every_page.pages(routes):
        names = set(every_page.names_in(route.path))
        slugs = [(WORLD, own)] if names - {"slug"} <= set(own) else [(planted.SLUG, ids)]
        if names == {"slug"}:
            slugs.append((FULL, ids))
        for slug, known in slugs:
            paths += every_page.paths([route], known, slug)
    return cookie, _whole(paths)


def _found(database: Database, routes: list[Any]) -> tuple[str, list[str]]:
    """Found an installation with one project that has nothing in it yet."""
    with database.transaction() as session:
        user = accounts.create_user(
            session, email="ada@example.org", name="Ada", password=None, is_admin=True
        )
        projects.create(session, name="New project", slug=EMPTY, owner=user)
        cookie = login_sessions.begin(session, user.id).secret
    known = [
        route
        for route in every_page.pages(routes)
        if not set(every_page.names_in(route.path)) - {"slug"}
    ]
    return cookie, _whole(list(every_page.paths(known, {}, EMPTY)))


def _write_words(session: Any) -> None:
    """Give what has no text yet something to read."""
    for table, column in planted.columns():
        text = WORDS.get(f"{table.name}.{column.name}", "The library closes at eight.")
        if isinstance(column.type, String) and not column.nullable:
            session.execute(update(table).where(column == "").values({column.name: text}))
    session.expire_all()


def _whole(paths: list[str]) -> list[str]:
    """Leave out what is a part of a page."""
    return [path for path in dict.fromkeys(paths) if not path.endswith(PARTS)]


@contextmanager
def window(browser: Browser, world: World, look: Look) -> Iterator[Page]:
    """Open a window for somebody of a world."""
    context = browser.new_context(
        viewport={"width": look.width, "height": 900},
        color_scheme=look.scheme,
        reduced_motion="reduce",
    )
    context.set_default_timeout(120_000)
    if world.cookie:
        context.add_cookies([{"name": "attune", "value": world.cookie, "url": world.url}])
    page = context.new_page()
    yield page
    context.close()


def open_page(page: Page, world: World, path: str) -> bool:
    """Open a page; return whether it is one, and not a file or an error of the server."""
    answer = page.goto(world.url + path)
    if answer is None or "html" not in answer.headers.get("content-type", ""):
        return False
    if answer.status >= 500:
        raise SystemExit(f"{path} answered with {answer.status}")
    page.wait_for_load_state("load")
    return True


def photograph(browser: Browser, world: World, folder: Path, only: str) -> None:
    """Write the pictures of a world's pages."""
    for look in PICTURES:
        (folder / world.name / look.name).mkdir(parents=True, exist_ok=True)
        with window(browser, world, look) as page:
            for path in chosen(world, only):
                if open_page(page, world, path):
                    name = f"{world.name}/{look.name}/{_file_name(path)}.png"
                    page.screenshot(path=folder / name, full_page=True)


AXE_RUN = """() => axe.run({ resultTypes: ["violations"] }).then((found) => found.violations.map(
  (one) => `${one.impact}: ${one.id}: ` + one.nodes.slice(0, 3).map((node) =>
    node.target.join(" ") + " " + node.html.slice(0, 90)).join(" | ")))"""


def check(browser: Browser, world: World, only: str, looks: list[Look] = CHECKS) -> Iterator[str]:
    """Yield what axe finds on a world's pages, whatever its impact, and pages that do not fit.

    A page is opened once and then looked at in each look, as if its reader turned the screen.
    """
    with window(browser, world, looks[0]) as page:
        for path in chosen(world, only):
            if not open_page(page, world, path):
                continue
            page.evaluate(AXE.read_text())
            for look in looks:
                page.set_viewport_size({"width": look.width, "height": 3000})
                page.emulate_media(
                    color_scheme=look.scheme,
                    forced_colors="active" if look.is_forced else "none",
                )
                found = page.evaluate(AXE_RUN)
                if not fits_window(page):
                    found.append("wider than its window")
                yield from (f"{world.name} {look.name} {path}: {one}" for one in found)


def chosen(world: World, only: str) -> list[str]:
    """Return the pages of a world whose name and path match a regular expression."""
    return [path for path in world.paths if re.search(only, f"{world.name}{path}")]


def _file_name(path: str) -> str:
    return re.sub(r"\W+", "-", path).strip("-") or "home"


def write_index(folder: Path) -> None:
    """Write the page that shows the looks of each page side by side."""
    rows = []
    for world in sorted(one.name for one in folder.iterdir() if one.is_dir()):
        first = folder / world / PICTURES[0].name
        for picture in sorted(first.glob("*.png")):
            cells = "".join(
                f'<td><a href="{world}/{look.name}/{picture.name}">'
                f'<img loading="lazy" src="{world}/{look.name}/{picture.name}"></a></td>'
                for look in PICTURES
            )
            rows.append(f"<tr><th>{html.escape(f'{world} · {picture.stem}')}</th>{cells}</tr>")
    style = "img{max-width:100%;max-height:40rem}td{vertical-align:top}th{text-align:left}"
    text = f"<!doctype html><meta charset=utf-8><style>{style}</style><table>{''.join(rows)}"
    (folder / "index.html").write_text(f"{text}</table>", encoding="utf-8")


def main() -> int:
    """Write the pictures, or print what axe finds."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--only", default="", help="a regular expression for world and path")
    options.add_argument("--axe", action="store_true", help="check instead of taking pictures")
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as data, chromium() as browser, worlds(Path(data)) as found:
        for world in found:
            if given.axe:
                faults += check(browser, world, given.only)
            else:
                photograph(browser, world, given.folder, given.only)
    if given.axe:
        (given.folder / "violations.txt").write_text("\n".join(faults) + "\n", encoding="utf-8")
    else:
        write_index(given.folder)
    for fault in faults:
        print(fault)  # noqa: T201 - a command
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
