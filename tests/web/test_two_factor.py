"""Two-factor authentication in the browser: setting up, signing in, recovery, who must have it."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pyotp
import pytest
import segno
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import AuditEvent, LoginSession, PendingSignIn, SecondFactor, User
from app.services.people import accounts, guesses, pending_sign_ins
from app.services.project import projects
from app.settings import Settings
from tests.conftest import PASSWORD

SignIn = Callable[..., TestClient]
FORM = {"email": "ada@example.org", "password": PASSWORD}


class Clock:
    """The database's clock, which a test moves."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 5, 1, 12, 0, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def move(self, **by: float) -> None:
        self.moment += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(sqlite_url: str, clock: Clock) -> Iterator[Database]:
    found = Database(sqlite_url, clock=clock)
    yield found
    found.dispose()


class Phone:
    """The authenticator app, set up with the key that the page shows."""

    def __init__(self, page: str, clock: Clock) -> None:
        key = re.findall(r"<pre>([A-Z2-7 ]+)</pre>", page)[0]
        self.totp, self.clock = pyotp.TOTP(key.replace(" ", "")), clock

    @property
    def code(self) -> str:
        return self.totp.at(self.clock.moment)


def _page(browser: TestClient, path: str = "/account/two-factor") -> str:
    return browser.get(path, headers={"accept": "text/html"}).text


def _enrol(browser: TestClient, clock: Clock) -> tuple[Phone, list[str]]:
    """Turn it on; return the phone and the recovery codes."""
    assert browser.post("/account/two-factor/begin").status_code == 303
    phone = Phone(_page(browser), clock)
    form = {"code": phone.code, "password": PASSWORD}
    shown = browser.post("/account/two-factor/confirm", data=form)
    assert shown.status_code == 200, shown.text
    browser.headers["x-csrf-token"] = shown.text.split('csrf-token" content="')[1].split('"')[0]
    clock.move(seconds=30)
    return phone, re.findall(r"[a-z2-7]{4}(?:-[a-z2-7]{4}){3}", shown.text)


def _actions(database: Database) -> list[str]:
    with database.reader() as session:
        return list(session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)))


def test_turning_it_on_needs_a_code_and_the_password_and_ends_older_sessions(
    sign_in: SignIn, client: TestClient, database: Database, clock: Clock
) -> None:
    browser = sign_in("ada")
    assert client.post("/sign-in", data=FORM).headers["location"] == "/"
    assert "Set up" in _page(browser)
    browser.post("/account/two-factor/begin")
    page = _page(browser)
    assert 'src="data:image/svg+xml' in page
    phone = Phone(page, clock)
    for wrong in ({"code": "000000", "password": PASSWORD}, {"code": phone.code, "password": "x"}):
        assert browser.post("/account/two-factor/confirm", data=wrong).status_code == 422
    assert client.get("/account").status_code == 200  # it is not on yet
    before = browser.cookies["attune"]
    phone, codes = _enrol(browser, clock)
    assert len(set(codes)) == 10
    assert browser.cookies["attune"] != before
    assert "10 of 10 recovery codes" in _page(browser)
    assert not any(code in _page(browser) for code in codes)
    signed_out = client.get("/account", headers={"accept": "application/json"})
    assert signed_out.status_code == 401
    with database.reader() as session:
        assert len(session.scalars(select(LoginSession)).all()) == 1
        stored = session.scalars(select(SecondFactor)).one().sealed_secret
    assert phone.totp.secret not in stored
    assert browser.post("/account/two-factor/begin").status_code == 409
    assert _actions(database)[-1] == "two_factor.on"


def test_the_qr_code_holds_the_key_and_whose_it_is(
    sign_in: SignIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    make = segno.make

    def note(text: str, **more: Any) -> Any:
        drawn.append(text)
        return make(text, **more)

    monkeypatch.setattr(segno, "make", note)
    browser = sign_in("ada")
    browser.post("/account/two-factor/begin")
    phone = Phone(_page(browser), clock)
    parsed = pyotp.parse_uri(drawn[0])
    assert isinstance(parsed, pyotp.TOTP)
    assert (parsed.secret, parsed.name, parsed.issuer, parsed.interval, parsed.digits) == (
        *(phone.totp.secret, "ada@example.org", "Attune"),
        *(30, 6),
    )


def test_signing_in_asks_for_a_code_once_and_a_code_works_once(
    sign_in: SignIn, client: TestClient, database: Database, clock: Clock
) -> None:
    phone, _ = _enrol(sign_in("ada"), clock)
    asked = client.post("/sign-in", data=FORM | {"next": "/tokens"})
    assert asked.headers["location"] == "/sign-in/code?next=%2Ftokens"
    assert "attune" not in client.cookies
    assert client.get("/account", headers={"accept": "application/json"}).status_code == 401
    assert "authenticator app" in client.get("/sign-in/code?next=/tokens").text
    code = phone.code
    form = {"code": f"{code[:3]} {code[3:]}", "next": "/tokens"}
    cookie = client.cookies["attune-code"]
    assert client.post("/sign-in/code", data=form).headers["location"] == "/tokens"
    assert client.get("/account").status_code == 200
    client.cookies.clear()
    client.cookies.set("attune-code", cookie)  # the sign-in it belonged to has ended
    assert client.post("/sign-in/code", data=form).headers["location"].startswith("/sign-in?")
    client.cookies.clear()
    client.post("/sign-in", data=FORM)
    assert client.post("/sign-in/code", data=form).status_code == 401
    clock.move(seconds=30)
    assert client.post("/sign-in/code", data={"code": phone.code}).headers["location"] == "/"
    with database.reader() as session:
        assert session.scalars(select(PendingSignIn)).all() == []


@pytest.mark.parametrize(("seconds", "status"), [(-60, 401), (-30, 303), (30, 303), (60, 401)])
def test_a_clock_may_be_one_step_astray(
    sign_in: SignIn, client: TestClient, clock: Clock, seconds: int, status: int
) -> None:
    phone, _ = _enrol(sign_in("ada"), clock)
    clock.move(minutes=5)
    client.post("/sign-in", data=FORM)
    code = phone.totp.at(clock.moment + timedelta(seconds=seconds))
    assert client.post("/sign-in/code", data={"code": code}).status_code == status


def test_ten_minutes_later_the_password_is_asked_for_again(
    sign_in: SignIn, client: TestClient, clock: Clock
) -> None:
    phone, _ = _enrol(sign_in("ada"), clock)
    client.post("/sign-in", data=FORM)
    clock.move(seconds=pending_sign_ins.LIFE.total_seconds())
    client.cookies.set("attune-code", client.cookies["attune-code"])
    answer = client.post("/sign-in/code", data={"code": phone.code})
    assert answer.headers["location"].startswith("/sign-in?")


def test_a_new_password_ends_a_sign_in_that_waits(
    sign_in: SignIn, client: TestClient, database: Database, clock: Clock
) -> None:
    phone, _ = _enrol(sign_in("ada"), clock)
    client.post("/sign-in", data=FORM)
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        accounts.set_password(session, user, "another password", actor_id=None)
    answer = client.post("/sign-in/code", data={"code": phone.code})
    assert answer.headers["location"].startswith("/sign-in?")


def test_a_recovery_code_works_once_and_new_ones_replace_all(
    sign_in: SignIn, client: TestClient, database: Database, clock: Clock
) -> None:
    browser = sign_in("ada")
    phone, codes = _enrol(browser, clock)
    client.post("/sign-in", data=FORM)
    used = client.post("/sign-in/code", data={"recovery_code": codes[3].upper()})
    assert used.status_code == 303
    assert "9%20are%20left" in used.headers["set-cookie"]
    client.cookies.clear()
    client.post("/sign-in", data=FORM)
    assert client.post("/sign-in/code", data={"recovery_code": codes[3]}).status_code == 401
    page = browser.post("/account/two-factor/recovery-codes", data={"code": phone.code})
    assert page.status_code == 200
    assert not any(code in page.text for code in codes)
    assert client.post("/sign-in/code", data={"recovery_code": codes[4]}).status_code == 401
    assert _actions(database)[-2:] == ["two_factor.recovery_code", "two_factor.recovery_codes"]


def test_codes_are_throttled_apart_from_passwords(
    sign_in: SignIn, client: TestClient, clock: Clock
) -> None:
    """Whoever has the password must not get ten more guesses by giving it again."""
    phone, codes = _enrol(sign_in("ada"), clock)
    said = []
    for _ in range(guesses.FAILURES_PER_ACCOUNT + 1):
        client.cookies.clear()
        client.post("/sign-in", data=FORM)
        said.append(client.post("/sign-in/code", data={"code": "000000"}).status_code)
    assert said == [401] * guesses.FAILURES_PER_ACCOUNT + [429]
    for form in ({"code": phone.code}, {"recovery_code": codes[0]}):
        assert client.post("/sign-in/code", data=form).status_code == 429
    assert client.post("/sign-in", data=FORM).status_code == 303
    clock.move(minutes=16)
    client.post("/sign-in", data=FORM)
    assert client.post("/sign-in/code", data={"code": phone.code}).status_code == 303


def test_turning_it_off_asks_for_the_password_and_a_code(
    sign_in: SignIn, client: TestClient, database: Database, clock: Clock
) -> None:
    browser = sign_in("ada")
    phone, codes = _enrol(browser, clock)
    url = "/account/two-factor/remove"
    for form in ({"code": phone.code, "password": "x"}, {"code": "000000", "password": PASSWORD}):
        assert browser.post(url, data=form).status_code == 422
    right = {"code": codes[0], "password": PASSWORD}
    assert browser.post(url, data=right).status_code == 303
    assert browser.post(url, data=right).status_code == 422
    assert client.post("/sign-in", data=FORM).headers["location"] == "/"
    assert _actions(database)[-1] == "two_factor.off"


def test_an_administrator_resets_it_for_someone_else(
    sign_in: SignIn, client: TestClient, database: Database, clock: Clock
) -> None:
    ada, root = sign_in("ada"), sign_in("root", is_admin=True)
    _enrol(ada, clock)
    assert ada.post("/people/1/two-factor/reset").status_code == 403
    assert "Reset two-factor" in _page(root, "/people")
    assert root.post("/people/1/two-factor/reset").status_code == 303
    assert "Reset two-factor" not in _page(root, "/people")
    assert ada.get("/account", headers={"accept": "application/json"}).status_code == 401
    assert client.post("/sign-in", data=FORM).headers["location"] == "/"
    assert root.post("/people/1/two-factor/reset").status_code == 422  # it is off
    assert root.post("/people/99/two-factor/reset").status_code == 404
    _enrol(root, clock)
    assert root.post("/people/2/two-factor/reset").status_code == 422  # one's own
    with database.reader() as session:
        event = session.scalars(
            select(AuditEvent).where(AuditEvent.action == "two_factor.reset")
        ).one()
        assert (event.actor_id, event.subject) == (2, "user 1")


def test_api_tokens_are_not_affected_and_do_not_change_it(
    sign_in: SignIn, client: TestClient, clock: Clock
) -> None:
    browser = sign_in("ada")
    made = browser.post("/tokens", data={"name": "script", "scopes": ["write"]}).text
    secret = made.split("<pre>")[1].split("</pre>")[0]
    script = {"authorization": f"Bearer {secret}", "accept": "application/json"}
    _enrol(browser, clock)
    assert client.get("/account", headers=script).status_code == 200
    for name in ("begin", "confirm", "remove", "recovery-codes"):
        form = {"code": "000000", "password": PASSWORD}
        url = f"/account/two-factor/{name}"
        assert client.post(url, data=form, headers=script).status_code == 403


def test_a_changed_secret_of_the_server_leaves_recovery_codes(
    sign_in: SignIn, client: TestClient, application: Any, clock: Clock
) -> None:
    phone, codes = _enrol(sign_in("ada"), clock)
    application.state.secret = b"t" * 40
    client.post("/sign-in", data=FORM)
    answer = client.post("/sign-in/code", data={"code": phone.code})
    assert answer.status_code == 401
    assert "the server’s secret has changed" in unescape(answer.text)
    assert client.post("/sign-in/code", data={"recovery_code": codes[0]}).status_code == 303


class TestRequired:
    """The operator's setting: leads and administrators must have it."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"require_two_factor": True})

    def test_leads_and_administrators_are_sent_to_set_it_up(
        self, sign_in: SignIn, database: Database, clock: Clock
    ) -> None:
        browser = sign_in("ada")
        assert browser.get("/tokens").status_code == 200
        with database.transaction() as session:
            projects.create(session, name="Desk", owner=session.scalars(select(User)).one())
        for path in ("/", "/account", "/tokens", "/p/desk", "/p/desk/label"):
            page = browser.get(path, headers={"accept": "text/html"})
            assert page.headers.get("location") == "/account/two-factor", path
            script = browser.get(path, headers={"accept": "application/json"})
            assert script.status_code == 403
            assert "two-factor authentication" in script.json()["detail"]
        claim = browser.post("/api/v1/projects/desk/assignments/exchange", json={})
        assert claim.status_code == 403
        assert "must turn it on" in _page(browser)
        _enrol(browser, clock)
        assert browser.get("/p/desk/settings").status_code == 200
        assert browser.get("/tokens").status_code == 200

    def test_administrators_are_and_their_tokens_are_not(
        self, client: TestClient, database: Database, make_user: Callable[..., User]
    ) -> None:
        root = make_user("root", is_admin=True)
        with database.transaction() as session:
            secret = accounts.create_token(session, root, name="x", scopes=["admin"]).secret
        script = {"authorization": f"Bearer {secret}", "accept": "application/json"}
        assert client.get("/people", headers=script).status_code == 200
        client.post("/sign-in", data=FORM | {"email": "root@example.org"})
        assert client.get("/people", headers={"accept": "application/json"}).status_code == 403
