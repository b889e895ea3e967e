"""Single sign-on against a provider that follows the protocol, and one that breaks a rule of it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pyotp
import pytest
from joserfc.jwk import RSAKey
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.errors import Invalid
from app.main import create_app
from app.models import AuditEvent, Invitation, LinkedIdentity, Membership, Role, User
from app.services.people import accounts, guesses, identities, invitations, second_factors
from app.services.project import projects
from app.settings import Settings
from app.web import oidc_provider
from tests import oidc_server
from tests.conftest import PASSWORD, quick_app
from tests.oidc_server import CLIENT_ID, CLIENT_SECRET, OidcServer, serve_oidc

BASE = "http://127.0.0.1"
MakeUser = Callable[..., User]


@pytest.fixture
def provider() -> Iterator[OidcServer]:
    with serve_oidc(f"{BASE}/sign-in/oidc/callback") as found:
        yield found


@pytest.fixture
def changes() -> dict[str, Any]:
    """Provide settings that a test changes before it uses the application."""
    return {}


@pytest.fixture
def settings(settings: Settings, provider: OidcServer, changes: dict[str, Any]) -> Settings:
    given = settings.model_dump() | {
        "public_url": BASE,
        "oidc_issuer": provider.url,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
    }
    return Settings(**(given | changes))


def _go(browser: TestClient, query: str = "") -> Any:
    """Go to the provider and come back."""
    begun = browser.get(f"/sign-in/oidc{query}")
    assert begun.status_code == 303, begun.text
    return _come_back(browser, begun.headers["location"])


def _come_back(browser: TestClient, location: str) -> Any:
    agreed = httpx2.get(location)
    return browser.get(agreed.headers["location"].removeprefix(BASE))


def _said(answer: Any) -> str:
    page: str = answer.text.split('role="alert">')[1].split("</p>")[0]
    return page


def _is_in(browser: TestClient) -> bool:
    answer = browser.get("/account", headers={"accept": "application/json"})
    return bool(answer.status_code == 200)


def _linked(database: Database, user: User, subject: str = "u-1", issuer: str = "") -> None:
    with database.transaction() as session:
        row = LinkedIdentity(
            user_id=user.id, issuer=issuer, subject=subject, created_at=user.created_at
        )
        session.add(row)


def test_whoever_is_connected_signs_in_and_goes_on_inside(
    client: TestClient, provider: OidcServer, database: Database, make_user: MakeUser
) -> None:
    _linked(database, make_user("ada"), issuer=provider.url)
    page = client.get("/sign-in?next=/tokens").text
    assert 'href="/sign-in/oidc?next=%2Ftokens"' in page
    assert "Sign in with single sign-on" in page
    answer = _go(client, "?next=/tokens")
    assert (answer.status_code, answer.headers["location"]) == (303, "/tokens")
    assert provider.faults == []
    assert _is_in(client)
    assert "attune-provider" not in client.cookies
    for target in (
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "/\t/evil.example",
    ):
        client.cookies.clear()
        assert _go(client, f"?next={quote(target)}").headers["location"] == "/"
    # Addresses and keys were asked for once.
    assert [
        provider.asked.count(path) for path in ("/.well-known/openid-configuration", "/jwks")
    ] == [1, 1]


BROKEN: dict[str, tuple[Callable[[OidcServer], None], str]] = {
    "nonce": (lambda server: _spell(server, nonce="other"), "fails a check"),
    "no nonce": (lambda server: _spell(server, nonce=None), "fails a check"),
    "audience": (lambda server: _spell(server, aud="other"), "fails a check"),
    "audience, for this party": (
        lambda server: _spell(server, aud="other", azp=CLIENT_ID),
        "fails a check",
    ),
    "audience, authorized party": (
        lambda server: _spell(server, aud=[CLIENT_ID, "other"], azp="other"),
        "fails a check",
    ),
    "issuer": (lambda server: _spell(server, iss="https://evil.example"), "fails a check"),
    "expired": (lambda server: _spell(server, exp=int(time.time()) - 120), "fails a check"),
    "no expiry": (lambda server: _spell(server, exp=None), "fails a check"),
    "no subject": (lambda server: _spell(server, sub=None), "fails a check"),
    "access token": (lambda server: _spell(server, at_hash="AAAA"), "fails a check"),
    "unsigned": (lambda server: setattr(server, "sign", oidc_server.unsigned), "fails a check"),
    "another key": (
        lambda server: setattr(server, "sign", oidc_server.by_another_key),
        "fails a check",
    ),
    "public key as a secret": (
        lambda server: setattr(server, "sign", oidc_server.by_the_public_key),
        "fails a check",
    ),
    "address not verified": (lambda server: _user(server, email_verified=False), "verify the"),
    "address maybe verified": (lambda server: _user(server, email_verified="yes"), "verify the"),
    "verified by whom": (lambda server: _user(server, email_verified=None), "verify the"),
    "no address": (lambda server: _user(server, email=None), "scope email"),
    "another person described": (
        lambda server: _described(server, sub="u-2"),
        "a different person",
    ),
    "name of the issuer": (
        lambda server: server.metadata.update(issuer="https://other.example"),
        "calls itself https://other.example",
    ),
    "plain http": (
        lambda server: server.metadata.update(token_endpoint="http://login.example/token"),
        "token_endpoint must be an address such as https",
    ),
}


def _spell(server: OidcServer, **changes: Any) -> None:
    def spell(claims: dict[str, Any]) -> dict[str, Any]:
        return {name: one for name, one in (claims | changes).items() if one is not None}

    server.spell = spell


def _user(server: OidcServer, **changes: Any) -> None:
    server.user |= changes
    server.user = {name: one for name, one in server.user.items() if one is not None}


def _described(server: OidcServer, **changes: Any) -> None:
    server.in_user_info = True
    server.user_info = changes


@pytest.mark.parametrize("fault", BROKEN)
def test_a_provider_that_breaks_a_rule_lets_nobody_in(
    client: TestClient,
    provider: OidcServer,
    database: Database,
    make_user: MakeUser,
    fault: str,
) -> None:
    _linked(database, make_user("ada"), issuer=provider.url)
    seed, reason = BROKEN[fault]
    seed(provider)
    begun = client.get("/sign-in/oidc")
    answer = _come_back(client, begun.headers["location"]) if begun.status_code == 303 else begun
    assert answer.status_code in {403, 503}, answer.text
    assert reason in _said(answer)
    assert "Sign in with a password" in answer.text
    assert not _is_in(client)


def test_an_answer_counts_once_and_only_in_the_browser_that_asked(
    application: Any,
    client: TestClient,
    provider: OidcServer,
    database: Database,
    make_user: MakeUser,
) -> None:
    _linked(database, make_user("ada"), issuer=provider.url)
    url = client.get("/sign-in/oidc?next=/tokens").headers["location"]
    answer = httpx2.get(url).headers["location"].removeprefix(BASE)
    with TestClient(application, base_url=BASE, follow_redirects=False) as other:
        assert other.get(answer).status_code == 403  # it began nothing
        other.get("/sign-in/oidc")
        assert other.get(answer).status_code == 403  # it began another one
        assert not _is_in(other)
    kept = client.cookies["attune-provider"]
    assert client.get(answer.replace("iss=", "iss=x")).status_code == 403
    client.cookies.set("attune-provider", kept)
    assert client.get(answer).headers["location"] == "/tokens"
    client.cookies.clear()
    client.cookies.set("attune-provider", kept)
    again = client.get(answer)  # the provider takes a code once
    assert again.status_code == 403
    assert "invalid_grant" in _said(again)
    client.cookies.set("attune-provider", kept[:-8] + "AAAAAAA=")
    assert "did not begin" in _said(client.get(answer))
    state = parse_qs(urlsplit(url).query)["state"][0]
    client.cookies.set("attune-provider", kept)
    declined = client.get(f"/sign-in/oidc/callback?error=access_denied&state={state}")
    assert "declined" in _said(declined)


def test_new_keys_and_another_way_to_give_the_secret_work(
    client: TestClient, provider: OidcServer, database: Database, make_user: MakeUser
) -> None:
    provider.auth_methods = ("client_secret_post",)
    provider.in_user_info = True  # the address comes from there
    _linked(database, make_user("ada"), issuer=provider.url)
    assert _go(client).status_code == 303
    provider.key = RSAKey.generate_key(2048, auto_kid=True)
    client.cookies.clear()
    assert _go(client).status_code == 303
    assert _is_in(client)


def test_nobody_gets_an_account_with_a_password_by_the_address_alone(
    client: TestClient, provider: OidcServer, database: Database, make_user: MakeUser
) -> None:
    ada = make_user("ada", is_admin=True)
    provider.user["groups"] = [f"group {number}" for number in range(500)]  # no cookie holds them
    asked = _go(client, "?next=/tokens")
    assert len(client.cookies["attune-connect"]) < 4000
    assert asked.headers["location"] == "/sign-in/oidc/connect"
    assert not _is_in(client)
    assert "ada@example.org" in client.get("/sign-in/oidc/connect").text
    url = "/sign-in/oidc/connect"
    assert client.post(url, data={"password": "wrong password"}).status_code == 401
    with database.reader() as session:
        assert identities.of_user(session, ada.id) == []
    joined = client.post(url, data={"password": PASSWORD})
    assert joined.headers["location"] == "/tokens"
    assert _is_in(client)
    assert provider.url in client.get("/account", headers={"accept": "text/html"}).text
    client.cookies.clear()
    assert _go(client).headers["location"] == "/"
    provider.user["email"] = "renamed@example.org"  # the person is known by the provider's id
    client.cookies.clear()
    assert _go(client).headers["location"] == "/"
    assert client.get("/sign-in/oidc/connect").status_code == 403


def test_guesses_at_the_password_of_an_account_to_connect_are_limited(
    client: TestClient, make_user: MakeUser
) -> None:
    make_user("ada")
    _go(client)
    wrong = {"password": "wrong password"}
    said = [
        client.post("/sign-in/oidc/connect", data=wrong).status_code
        for _ in range(guesses.FAILURES_PER_ACCOUNT + 1)
    ]
    assert said == [401] * guesses.FAILURES_PER_ACCOUNT + [429]


def test_a_code_is_asked_for_after_the_provider_too(
    client: TestClient, provider: OidcServer, database: Database, make_user: MakeUser
) -> None:
    ada = make_user("ada")
    _linked(database, ada, issuer=provider.url)
    with database.transaction() as session:
        second_factors.begin(session, ada, b"s" * 40)
        begun = second_factors.enrolment(session, ada, b"s" * 40)
        assert begun is not None
        code = pyotp.TOTP(begun.secret).now()
        second_factors.confirm(session, ada, b"s" * 40, password=PASSWORD, code=code, address="")
    assert _go(client).headers["location"] == "/sign-in/code?next=%2F"
    assert not _is_in(client)


def _without_password(database: Database, **more: Any) -> User:
    with database.transaction() as session:
        return accounts.create_user(
            session, email="ada@example.org", name="Ada", password=None, **more
        )


@pytest.mark.parametrize(
    ("more", "taken", "status"),
    [({}, False, 303), ({"is_admin": True}, False, 403), ({}, True, 403)],
)
def test_an_account_without_a_password_is_connected_unless_it_is_more(
    client: TestClient,
    provider: OidcServer,
    database: Database,
    more: dict[str, Any],
    taken: bool,
    status: int,
) -> None:
    user = _without_password(database, **more)
    if taken:  # someone else had this address before
        _linked(database, user, subject="u-0", issuer=provider.url)
    assert _go(client).status_code == status
    assert _is_in(client) is (status == 303)
    if taken:
        with database.transaction() as session:
            identities.disconnect(session, session.get_one(User, user.id), actor_id=None)
        assert _go(client).status_code == 303


def test_a_closed_account_stays_closed(
    client: TestClient, provider: OidcServer, database: Database
) -> None:
    user = _without_password(database)
    for linked in (False, True):
        with database.transaction() as session:
            session.get_one(User, user.id).is_active = False
        if linked:
            _linked(database, user, issuer=provider.url)
        answer = _go(client)
        assert (answer.status_code, "is closed" in _said(answer)) == (403, True)


def test_the_unknown_need_an_invitation(
    client: TestClient, provider: OidcServer, database: Database, make_user: MakeUser
) -> None:
    root = make_user("root", is_admin=True)
    with database.transaction() as session:
        for name in ("Desk", "Shop"):
            projects.create(session, name=name, owner=root)
        invited: dict[str, Any] = {"role": Role.LABELER, "actor_id": root.id}
        invitations.invite(session, project_id=1, email="Ada@Example.org", **invited)
        link = invitations.invite(session, project_id=2, email=None, **invited).secret
        other = invitations.invite(session, project_id=2, email="b@example.org", **invited).secret
    provider.user["email"] = "eve@example.org"
    answer = _go(client)
    assert (answer.status_code, "no open invitation" in _said(answer)) == (403, True)
    assert "different address" in _said(_go(client, f"?invitation={other}"))
    provider.user["email"] = "ada@example.org"
    shown = client.get(f"/invitation/{link}").text
    assert f"/sign-in/oidc?invitation={link}" in shown
    assert _go(client, f"?invitation={link}").headers["location"] == "/"
    assert _is_in(client)
    with database.reader() as session:
        user = session.scalars(select(User).where(User.email == "ada@example.org")).one()
        assert (user.name, user.password_hash, user.is_admin) == ("Ada", None, False)
        joined = session.scalars(select(Membership.project_id).where(Membership.user_id == user.id))
        assert sorted(joined) == [1, 2]
        unused = select(Invitation.email).where(Invitation.used_at.is_(None))
        assert session.scalars(unused).all() == ["b@example.org"]
        actions = session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
        assert actions[-1] == "identity.connect"
    page = client.get("/account", headers={"accept": "text/html"}).text
    assert "Your account has no password" in page
    assert "Current password" not in page


class TestWhoMay:
    """The operator's settings of whom the provider may let in."""

    @pytest.fixture
    def changes(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        found: dict[str, Any] = {"oidc_creates_accounts": True} | request.param
        return found

    @pytest.mark.parametrize(
        ("changes", "groups", "reason"),
        [
            ({}, None, ""),
            ({"oidc_allowed_domains": "example.com, Example.ORG"}, None, ""),
            ({"oidc_allowed_domains": "example.com"}, None, "Addresses of example.org"),
            ({"oidc_allowed_domains": "ample.org"}, None, "Addresses of example.org"),
            ({"oidc_allowed_groups": "labelers,leads"}, ["leads"], ""),
            ({"oidc_allowed_groups": "labelers"}, ["leads"], "none of the groups"),
            ({"oidc_allowed_groups": "labelers"}, None, "none of the groups"),
            ({"oidc_allowed_groups": "lab"}, "labelers", "none of the groups"),
            (
                {"oidc_allowed_groups": "labelers", "oidc_allowed_domains": "example.com"},
                ["labelers"],
                "Addresses of example.org",
            ),
        ],
        indirect=["changes"],
    )
    def test_domains_and_groups(
        self, client: TestClient, provider: OidcServer, groups: Any, reason: str
    ) -> None:
        if groups is not None:
            provider.user["groups"] = groups
        answer = _go(client)
        assert answer.status_code == (403 if reason else 303)
        assert _is_in(client) is not bool(reason)
        assert not reason or reason in _said(answer)


def test_without_a_provider_there_is_no_button(settings: Settings, database: Database) -> None:
    application = quick_app(settings, database)
    application.state.oidc = None
    with TestClient(application, base_url=BASE) as client:
        assert "single sign-on" not in client.get("/sign-in").text
        for path in ("/sign-in/oidc", "/sign-in/oidc/callback", "/sign-in/oidc/connect"):
            assert client.get(path).status_code == 404


def test_a_provider_that_is_away_is_said_and_holds_nothing_up(
    client: TestClient, application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = application.state.oidc
    provider.setup = replace(provider.setup, issuer="http://127.0.0.1:9")
    answer = client.get("/sign-in/oidc")
    assert (answer.status_code, "does not respond" in _said(answer)) == (503, True)
    for _ in range(oidc_provider.AT_ONCE):  # it hangs, and so many wait for it
        assert provider._turns.acquire(timeout=0)
    monkeypatch.setattr(oidc_provider, "TURN_S", 0.01)
    answer = client.get("/sign-in/oidc")
    assert (answer.status_code, "Too many people" in _said(answer)) == (503, True)
    assert client.get("/livez").status_code == 200


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "oidc_issuer": "https://login.example.org",
        "oidc_client_id": "x",
        "public_url": BASE,
        "secret_key": "s" * 40,
    }
    path = tmp_path / "secret"
    settings = Settings(**given, oidc_client_secret_file=path)
    with pytest.raises(Invalid, match="cannot be read"):
        create_app(settings, Database("sqlite://"))
    path.write_text(" hush\n")
    assert settings.oidc_secret == "hush"
    with pytest.raises(Invalid, match="not both"):
        create_app(
            Settings(**given, oidc_client_secret_file=path, oidc_client_secret="x"),
            Database("sqlite://"),
        )
