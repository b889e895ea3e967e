"""Script injection, in a real browser: payloads in every text that can come from outside.

The world is planted, then every page that the application has a route for is opened, its forms are
sent with payloads, and the labeling page is worked by its script. Nothing may run, nothing may be
blocked by the content security policy (that would mean that markup got through), and every payload
must have been there to be seen. The same proof with the sanitizer or the escaping switched off
must find scripts that ran.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from fastapi.routing import APIRoute
from markdown_it import MarkdownIt
from markupsafe import Markup
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Route

from app.db import Database
from app.services.people import login_sessions
from app.settings import Settings
from app.web import assignments, render, security
from tests.browser import every_page, payloads
from tests.browser.planted import SAID, Places, plant
from tests.conftest import quick_app
from tests.live import serve
from tests.web.routes import routes_of

pytestmark = pytest.mark.browser

FEWEST = 300
# Texts that no page shows.
UNSEEN = {
    "login_session.user_agent",
    "linked_identity.subject",
    "prompt_edit_item.category_before",  # kept for undoing the edit
    "metric.name",  # only the names that the product itself writes are drawn
    "user.password_hash",
}
# Texts that their page cuts short, with how many payloads are left.
CUT = {"training_sample.prompt": 10, "assignment.skip_reason": 5, "assignment.skip_comment": 5}

_SCRIPTS = Path(__file__).parent
_HOOK = (_SCRIPTS / "hook.js").read_text()
_LOOK = (_SCRIPTS / "look.js").read_text()
_SEND = (_SCRIPTS / "send.js").read_text()


@dataclass
class Lab:
    """The planted world, a browser that looks at it, and what it has seen so far."""

    page: Page
    url: str
    places: Places
    ids: dict[str, list[int | str]]
    routes: list[APIRoute]
    seen: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    ran: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Open a page and look at it."""
        answer = self.page.goto(self.url + path)
        if answer is not None and "html" in answer.headers.get("content-type", ""):
            self.look(path)

    def send(self, action: str, fields: dict[str, str], start: str = "/account") -> None:
        """Send a form from one of our pages and look at the answer."""
        self.page.goto(self.url + start)
        with self.page.expect_navigation():
            self.page.evaluate(_SEND, {"action": action, "fields": list(fields.items())})
        self.look(f"POST {action}")

    def look(self, where: str) -> None:
        """Note what is on the page."""
        found = self.page.evaluate(_LOOK)
        for mark in found["marks"]:
            self.seen[self.places.of(mark)].add(mark)
        self.ran |= {self.places.of(mark) for mark in found["ran"]}
        if found["ran"] or found["blocked"] or found["foreign"] or found["frames"]:
            self.faults.append(
                f"{where}: ran {sorted(set(found['ran']))[:5]}, blocked {found['blocked'][:3]}, "
                f"foreign {found['foreign'][:5]}, {found['frames']} frames"
            )


@pytest.fixture
def lab(browser: Browser, sqlite_template: Path, tmp_path: Path) -> Iterator[Lab]:
    path = tmp_path / "attune.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{path}", secret_key="s" * 40)
    application = quick_app(settings, database)
    places = Places()
    with database.transaction() as session:
        ids = plant(session, places)
        secret = login_sessions.begin(session, int(ids["ada"][0])).secret
    with serve(application) as url:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.add_cookies([{"name": "attune", "value": secret, "url": url}])
        context.add_init_script(_HOOK)
        page = context.new_page()
        found = Lab(page, url, places, ids, routes_of(application))
        _listen(context, page, found)
        yield found
        context.close()
    database.dispose()


def _listen(context: BrowserContext, page: Page, lab: Lab) -> None:
    def on_dialog(dialog: Dialog) -> None:
        lab.faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def on_console(said: ConsoleMessage) -> None:
        if "Content Security" in said.text or "TrustedHTML" in said.text:
            lab.faults.append(said.text)

    page.set_default_timeout(60_000)  # pages are long here, and machines may be busy
    page.on("dialog", on_dialog)
    page.on("console", on_console)
    page.on("pageerror", lambda error: lab.faults.append(f"page error: {error}"))
    context.on("page", lambda _: lab.faults.append("a window was opened"))


def _label(lab: Lab, slug: str) -> None:
    """Work the labeling page by its script, in each of its views."""
    page = lab.page
    page.goto(f"{lab.url}/p/{slug}/label")
    if page.locator(".rules button").count():
        lab.look(f"{slug}: rules")
        page.click(".rules button")
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector("#work .prompt")
    lab.look(f"{slug}: label")
    for key in ("r", "r", "d", "l"):
        page.keyboard.press(key)
        lab.look(f"{slug}: label, {key}")


def _go_to(lab: Lab) -> None:
    """Open the command palette, whose script draws the names of projects."""
    lab.page.goto(f"{lab.url}/p/desk")
    lab.page.keyboard.press("Control+k")
    lab.page.wait_for_selector(".palette [role=option]")
    lab.page.keyboard.type("z")
    lab.look("command palette")


def _practise(lab: Lab) -> None:
    """Answer a practice comparison, so that the reason is drawn by the script and by the page."""
    page = lab.page
    page.goto(f"{lab.url}/p/desk/practice")
    page.wait_for_selector("html[data-ready]")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-feedback]")
    lab.look("practice, feedback")
    lab.open("/p/desk/practice")


def _refuse(lab: Lab) -> None:
    """Let the server refuse a judgment with a sentence made of payloads."""
    page = lab.page
    sentence = lab.places.text("error of the API")

    def answer(route: Route) -> None:
        route.fulfill(status=422, json={"detail": sentence})

    page.goto(f"{lab.url}/p/desk/label")
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector("#work .prompt")
    page.route("**/exchange", answer)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#trouble:not([hidden])")
    lab.look("label, refused")
    page.unroute("**/exchange")
    page.evaluate("localStorage.clear()")


def _echoes(lab: Lab) -> None:
    """Send payloads where a page gives back what it was sent."""
    text = lab.places.text
    desk = "/p/desk"
    for action, fields in (
        ("/sign-in", {"email": text("sign-in form"), "password": "x"}),
        ("/tokens", {"name": "x", "scopes": text("token form")}),
        ("/people", {"name": "x", "email": text("people form"), "password": "x" * 12}),
        ("/projects/new", _project(text("project form")) | {"rules": text("rules form")}),
        (f"{desk}/settings", _project(text("settings form"))),
        (f"{desk}/guidelines/edit", {"rules": text("guidelines form"), "preview": "1"}),
        (f"{desk}/labelers", {"email": text("members form")}),
        (f"{desk}/label/skip", _skip(text("skip form"))),
        (f"{desk}/comparisons/{lab.ids['comparison_id'][0]}/settle", {"reason": text("settle")}),
        (f"{desk}/exports", {"format": text("export form")}),
    ):
        lab.send(action, fields)


def _project(name: str) -> dict[str, str]:
    """Return a project's form that is refused: the page gives back what was sent."""
    return {"name": name, "description": name, "k": "2", "overlap": "1000", "base_model": name}


def _skip(reason: str) -> dict[str, str]:
    return {"assignment_id": "1", "lease_token": "x", "reason": reason}


def _searches(lab: Lab) -> None:
    """Search by payloads, and ask for pages that do not exist; an address holds a few at a time."""
    number = lab.places.numbers.setdefault("address", len(lab.places.numbers) + 1)
    for part in payloads.filled(number, 2400):
        for path in ("/people", "/p/desk/prompts", "/p/desk/comparisons", "/p/desk/history"):
            lab.page.goto(f"{lab.url}{path}?{urlencode({'q': part, 'source': part})}")
            lab.look(path)
        lab.page.goto(f"{lab.url}/p/{quote(part, safe='')}")
        lab.look("no such project")
        lab.page.context.add_cookies(
            [{"name": render.NOTICE_COOKIE, "value": quote(part[:900]), "url": lab.url}]
        )
        lab.page.goto(f"{lab.url}/account")
        lab.look("notice")


def _others(lab: Lab) -> None:
    """Open what a route does not name by itself; last, as somebody who is not signed in."""
    files = "&".join(
        f"{name}=file-{one}" for name, one in zip("ab", lab.ids["file_id"], strict=True)
    )
    for marks in ("", "&marks=1"):
        lab.open(f"/p/desk/sides?{files}{marks}")
    for kind in SAID:
        comparison, assignment = lab.ids[kind]
        lab.open(f"/p/{kind}/comparisons/{comparison}")
        lab.open(f"/p/{kind}/history/{assignment}")
        lab.open(f"/p/{kind}/history")
    lab.page.context.clear_cookies()
    lab.open(f"/invitation/{lab.ids['token'][0]}")


def test_nothing_runs_wherever_text_comes_in(
    lab: Lab, record_property: Callable[[str, object], None]
) -> None:
    paths = list(dict.fromkeys(every_page.paths(lab.routes, lab.ids, "desk")))
    assert len(paths) > 40
    for path in paths:
        lab.open(path)
    for slug in ("desk", *SAID):
        _label(lab, slug)
    _go_to(lab)
    _practise(lab)
    _refuse(lab)
    _echoes(lab)
    _searches(lab)
    _others(lab)
    for name, count in (
        ("payloads", len(payloads.every())),
        ("places", len(lab.places.numbers)),
        ("executions", len(lab.ran)),
        ("violations", len(lab.faults)),
    ):
        record_property(name, count)
    assert lab.faults == []
    assert lab.ran == set()
    _all_were_seen(lab)


def _all_were_seen(lab: Lab) -> None:
    """Every payload of every place was on a page: else the proof would prove nothing."""
    all_ = len(payloads.every())
    missing = {
        name: len(lab.seen[name])
        for name in lab.places.numbers
        if name not in UNSEEN and len(lab.seen[name]) < CUT.get(name, all_)
    }
    assert not missing, "\n".join(f"{name}: {count} of {all_}" for name, count in missing.items())
    assert len(lab.places.numbers) > 50


def test_there_are_payloads_enough_and_each_fits_any_field() -> None:
    fitting = payloads.payloads(99, payloads.SHORTEST_FIELD)
    assert len(fitting) >= FEWEST
    assert len(set(payloads.every())) == len(payloads.every())


def _raw_markdown(text: str) -> Markup:
    return Markup(MarkdownIt("commonmark", {"html": True}).render(text))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant only what leaves the page whole, so that its script still draws the answers."""
    chosen = tuple(one for one in payloads.every() if one.startswith("<img src=x onerror=z("))
    monkeypatch.setattr(payloads, "every", lambda: chosen)


@pytest.mark.parametrize("weakness", ["sanitizer", "escaping"])
def test_the_proof_finds_what_gets_through(
    few: None, lab: Lab, monkeypatch: pytest.MonkeyPatch, weakness: str
) -> None:
    monkeypatch.delitem(security.HEADERS, "content-security-policy")
    strong = render._environment()
    weak = strong.overlay(autoescape=weakness != "escaping")  # its templates are compiled apart
    if weakness == "sanitizer":
        monkeypatch.setattr(assignments, "render_markdown", _raw_markdown)
        weak.filters = strong.filters | {"markdown": _raw_markdown}
    monkeypatch.setattr(render, "_environment", lambda: weak)
    by_script, by_server = set[str](), set[str]()
    if weakness == "sanitizer":
        _label(lab, "desk")
        by_script = set(lab.ran)
    lab.ran.clear()
    lab.open(f"/p/desk/comparisons/{lab.ids['comparison_id'][0]}")
    by_server = set(lab.ran)
    if weakness == "sanitizer":
        assert {"prompt.messages", "completion.text"} <= by_script & by_server
    else:
        assert {"judgment.comment", "user.name", "project.name"} <= by_server
    assert lab.faults
