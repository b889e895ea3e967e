"""Every text that a person can read on a page, in one file: `python -m tests.web.words FILE`.

The worlds are an empty installation, empty projects of each goal and task, a project with a row of
every table in each state of its round, a project in the middle of its work, and one whose models
are compared. All pages are opened by an administrator, a lead, a labeler and a stranger, forms are
sent with nothing or nonsense in them, and what the scripts of pages say is read from their source.
Texts that differ only in their numbers are listed once, under the first page that has them.
"""

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db import Database, schema
from app.domain.gate_policies import GateOutcome
from app.domain.goals import Goal
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.domain.states import RoundState
from app.models import GateVerdict, Role, Round, User
from app.services.people import accounts, login_sessions
from app.services.project import projects
from app.settings import Settings
from tests.browser import lead_world, planted
from tests.conftest import quick_app
from tests.web import visible
from tests.web.routes import least_body, path_of, path_with, routes_of

HTML: Final = {"accept": "text/html"}
STATIC: Final = Path(__file__).parents[2] / "static"
_SKIPPED: Final = ("download", "rejects.jsonl", "csv", "svg", "events", "/sign-out", "{provider}")
_LITERAL: Final = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`', re.DOTALL)
_ANSWERS: Final = b"prompt,response_alpha,response_beta,response_gamma\n" + b"".join(
    b"Question %d?,Yes %d.,No %d.,Maybe %d.\n" % (at, at, at, at) for at in range(6)
)
Ids = Mapping[str, Sequence[int | str]]


@dataclass
class Words:
    """The texts by the place that has them first, without those of some elements."""

    without: tuple[str, ...] = ()
    places: dict[str, list[str]] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    def read(self, place: str, page: str) -> None:
        """Add the texts of a page."""
        self.add(place, visible.texts(page, *self.without))

    def add(self, place: str, pieces: Sequence[str]) -> None:
        """Add the texts that no place before has, whatever their numbers."""
        for piece in pieces:
            plain = re.sub(r"\d[\d,.:]*", "#", piece)
            if plain not in self._known:
                self._known.add(plain)
                self.places.setdefault(place, []).append(piece)


def read_most(application: FastAPI, database: Database, *without: str) -> Words:
    """Return the texts of what an administrator finds, empty and full; the database is empty.

    What is in elements with the tags or classes `without` is left out.
    """
    words = Words(without)
    with database.transaction() as session:
        admin = accounts.create_user(
            session, email="root@example.org", name="Ada", password=None, is_admin=True
        )
    with _browser(application, database, admin.id) as browser:
        _read_empty(words, application, browser, database, admin)
        _read_compared(words, browser, database)
        with database.transaction() as session:
            ids: Ids = planted.make_rows(session)
        _read_full(words, application, browser, ids)
    return words


def read_all(application: FastAPI, database: Database, *without: str) -> Words:
    """Return all texts of all worlds; the database is an empty one.

    What is in elements with the tags or classes `without` is left out.
    """
    words = Words(without)
    with TestClient(application, base_url="http://127.0.0.1", follow_redirects=False) as stranger:
        _read_outside(words, application, stranger)
        with database.transaction() as session:
            admin = accounts.create_user(
                session, email="root@example.org", name="Ada", password=None, is_admin=True
            )
            lead_id = accounts.create_user(
                session, email="lead@example.org", name="Bo", password=None
            ).id
        with _browser(application, database, admin.id) as browser:
            _read_empty(words, application, browser, database, admin)
            _read_compared(words, browser, database)
            with database.transaction() as session:
                ids: Ids = planted.make_rows(session)
                own = lead_world.furnish(session, "library", lead_id)
            _read_full(words, application, browser, ids)
            _read_states(words, browser, database)
            _send_nonsense(words, application, browser, ids)
        with _browser(application, database, lead_id) as browser:
            _read_full(words, application, browser, _ids_of_library(own), "library", "as a lead")
        with database.transaction() as session:
            project = projects.by_slug(session, "library")
            user = accounts.create_user(session, email="l@example.org", name="Cy", password=None)
            accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
            labeler_id = user.id
        with _browser(application, database, labeler_id) as browser:
            _read_full(words, application, browser, _ids_of_library(own), "library", "as a labeler")
    for script in sorted(STATIC.glob("**/*.js")):
        if "vendor" not in script.parts:
            words.add(f"script {script.relative_to(STATIC)}", list(_literals(script.read_text())))
    return words


def _browser(application: FastAPI, database: Database, user_id: int) -> TestClient:
    with database.transaction() as session:
        secret = login_sessions.begin(session, user_id).secret
    browser = TestClient(application, base_url="http://127.0.0.1", follow_redirects=False)
    browser.cookies.set("attune", secret)
    page = browser.get("/account", headers=HTML).text
    browser.headers["x-csrf-token"] = page.split('name="csrf-token" content="')[1].split('"')[0]
    return browser


def _open(words: Words, browser: TestClient, path: str, who: str = "") -> None:
    answer = browser.get(path, headers=HTML, follow_redirects=True)
    if "text/html" in answer.headers.get("content-type", ""):
        place = f"{answer.status_code} {path} {who}".strip()
        words.read(place, answer.text)


def _pages(application: FastAPI) -> Iterator[APIRoute]:
    for route in routes_of(application):
        is_page = "GET" in (route.methods or set()) and not route.path.startswith("/api/")
        if is_page and not any(part in route.path for part in _SKIPPED):
            yield route


def _read_outside(words: Words, application: FastAPI, browser: TestClient) -> None:
    for route in _pages(application):
        _open(words, browser, path_of(route), "as a stranger")
    nonsense = {"email": "nobody@example.org", "password": "wrong"}
    answer = browser.post("/sign-in", data=nonsense, headers=HTML)
    words.read("422 /sign-in", answer.text)


def _read_empty(
    words: Words, application: FastAPI, browser: TestClient, database: Database, owner: User
) -> None:
    for route in _pages(application):
        if "{" not in route.path:
            _open(words, browser, route.path, "empty")
    for path in ("/nowhere", "/p/nowhere", "/p/nowhere/label"):
        _open(words, browser, path)
    for goal in Goal:
        with database.transaction() as session:
            projects.create(session, name=f"{goal} it", owner=session.merge(owner), goal=goal)
        for route in _pages(application):
            if route.path.startswith("/p/{slug}"):
                _open(words, browser, path_of(route, f"{goal}-it"), "empty")
    for kind in JudgmentKind:
        with database.transaction() as session:
            k = KINDS[kind].fewest
            owner_here = session.merge(owner)
            projects.create(session, name=f"K {kind}", owner=owner_here, judgment_kind=kind, k=k)
        for part in (
            "",
            "/label",
            "/settings",
            "/guidelines",
            "/history",
            "/practice",
            "/agreement",
        ):
            _open(words, browser, f"/p/k-{kind}{part}", "empty")


def _read_compared(words: Words, browser: TestClient, database: Database) -> None:
    """Compare models as a lead does, from the file to the end."""
    path = "/p/compare-it"
    answer = browser.post(f"{path}/prompts", files={"file": ("a.csv", _ANSWERS)}, headers=HTML)
    _open(words, browser, answer.headers["location"])
    _open(words, browser, path, "with responses")
    for part in ("/comparisons", "/leaderboard"):
        _open(words, browser, f"{path}{part}", "with responses")
    browser.post(f"{path}/comparisons", headers=HTML)
    for part in ("", "/comparisons", "/leaderboard", "/label", "/exports"):
        _open(words, browser, f"{path}{part}", "asked")
    files = {"file": ("b.jsonl", b'{"prompt": "x"}\nnonsense\n{"chosen": 1}\n')}
    answer = browser.post(f"{path}/prompts", files=files, headers=HTML)
    _open(words, browser, answer.headers["location"], "with rejects")
    preview = {"file": ("a.csv", _ANSWERS)}
    answer = browser.post(
        f"{path}/prompts", files=preview, data={"action": "preview"}, headers=HTML
    )
    words.read("preview of a file", answer.text)


def _read_full(
    words: Words,
    application: FastAPI,
    browser: TestClient,
    ids: Ids,
    slug: str = planted.SLUG,
    who: str = "full",
) -> None:
    for route in _pages(application):
        for path in path_with(route, ids, slug):
            if "{" not in path:
                _open(words, browser, path, who)


def _ids_of_library(own: Mapping[str, int]) -> Ids:
    return {
        "checkpoint_id": [own["policy"], own["reward"]],
        "evaluation_id": [own["evaluation"]],
        "judge_id": [own["judge"]],
        "scoring_id": [own["scored"], own["queued"]],
        "chat_id": [own["chat"]],
        "job_id": [own["push"]],
        "number": [1],
        "comparison_id": [1],
        "prompt_id": [1],
        "export_id": [1],
    }


def _read_states(words: Words, browser: TestClient, database: Database) -> None:
    for state in RoundState:
        with database.transaction() as session:
            _set_state(session, state)
        for part in ("", "/rounds", "/rounds/1"):
            _open(words, browser, f"/p/{planted.SLUG}{part}", f"{state}")


def _set_state(session: Session, state: RoundState) -> None:
    project = projects.by_slug(session, planted.SLUG)
    session.execute(update(Round).where(Round.project_id == project.id).values(state=state))
    outcome = GateOutcome.WAITING if state is RoundState.GATED else GateOutcome.OVERRIDDEN
    session.execute(update(GateVerdict).values(outcome=outcome))


def _send_nonsense(words: Words, application: FastAPI, browser: TestClient, ids: Ids) -> None:
    """Send every form of a page with nothing in it, and with the least that its fields take."""
    for route in routes_of(application):
        is_form = "POST" in (route.methods or set()) and not route.path.startswith("/api/")
        if not is_form or any(part in route.path for part in _SKIPPED):
            continue
        body, is_urlencoded = least_body(route)
        for path in path_with(route, ids, planted.SLUG)[:1]:
            if "{" in path:
                continue
            for data in ({}, body if is_urlencoded and isinstance(body, dict) else {}):
                fields = {name: str(value) for name, value in data.items()}
                answer = browser.post(path, data=fields, headers=HTML)
                if "text/html" in answer.headers.get("content-type", ""):
                    place = f"{answer.status_code} POST {path}"
                    words.read(place, answer.text)


def _literals(source: str) -> Iterator[str]:
    """Yield the texts in a script that look like words for people."""
    code = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    for match in _LITERAL.finditer(code):
        text = match.group(1) or match.group(2) or ""
        if re.search(r"[A-Za-z]{2}", text) and (" " in text.strip() or text[:1].isupper()):
            yield text


def main(to: Path) -> None:
    """Write the texts of all worlds to a file."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/attune.sqlite3"
        database = Database(url)
        schema.upgrade(database.engine)
        settings = Settings(
            data_dir=Path(folder), database_url=url, secret_key="s" * 40, allowed_base_models="*"
        )
        words = read_all(quick_app(settings, database), database)
        database.dispose()
    lines = [
        line for place, pieces in words.places.items() for line in (f"## {place}", *pieces, "")
    ]
    to.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
