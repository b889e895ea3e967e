"""A write token makes an admin token: no credential gives more than it has, and all can end."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import ApiToken, LoginSession, User
from app.services.people import accounts, guesses
from tests.conftest import PASSWORD

SignIn = Callable[..., TestClient]


def _script(database: Database, scope: str, days: int = 5) -> dict[str, str]:
    with database.transaction() as session:
        root = session.scalars(select(User)).first()
        assert root is not None
        secret = accounts.create_token(
            session, root, name=scope, scopes=[scope], lifetime=timedelta(days=days)
        ).secret
    return {"authorization": f"Bearer {secret}", "accept": "application/json"}


def test_a_token_makes_no_token_with_more_than_it_has(
    client: TestClient, make_user: Callable[..., User], database: Database
) -> None:
    make_user("root", is_admin=True)
    script = _script(database, "write")
    asked = {"name": "more", "days": 1}
    for scopes, days, status in (
        (["admin"], 1, 422),
        (["write", "admin"], 1, 422),
        (["write"], 6, 422),
        (["write", "label"], 1, 200),
        (["read"], 4, 200),
    ):
        form = asked | {"scopes": scopes, "days": days}
        answer = client.post("/tokens", data=form, headers=script)
        assert answer.status_code == status, (scopes, days)
    admin = client.post(
        "/tokens", data=asked | {"scopes": ["admin"]}, headers=_script(database, "admin")
    )
    assert admin.status_code == 200


def test_a_write_token_of_an_administrator_revokes_only_their_own(
    client: TestClient, make_user: Callable[..., User], database: Database
) -> None:
    make_user("root", is_admin=True)
    other = make_user("ada")
    with database.transaction() as session:
        theirs = accounts.create_token(session, other, name="x", scopes=["read"]).id
    url = f"/tokens/{theirs}/revoke"
    assert client.post(url, headers=_script(database, "write")).status_code == 404
    assert client.post(url, headers=_script(database, "admin")).status_code == 303


def test_a_read_token_accepts_no_invitation(
    sign_in: SignIn, client: TestClient, database: Database
) -> None:
    page = sign_in("root", is_admin=True).post("/people/invite", data={"role": "lead"}).text
    path = page.split("<pre>")[1].split("</pre>")[0].removeprefix("http://127.0.0.1")
    assert client.post(path, headers=_script(database, "read")).status_code == 403
    assert client.post(path, headers=_script(database, "write")).status_code == 303


@pytest.mark.parametrize("way", ["password", "everywhere"])
def test_tokens_end_with_the_sessions_except_those_of_services(
    sign_in: SignIn, database: Database, way: str
) -> None:
    browser = sign_in("ada")
    for name, more in (("script", {}), ("nightly", {"service": "1"})):
        made = browser.post("/tokens", data={"name": name, "scopes": ["read"], **more})
        assert made.status_code == 200
    if way == "password":
        form = {"old": PASSWORD, "new": "a new long password"}
        answer = browser.post("/account/password", data=form)
    else:
        answer = browser.post("/account/sign-out-everywhere")
    assert answer.status_code == 303
    assert "1%20API%20token%20was%20revoked" in answer.headers["set-cookie"]
    with database.reader() as session:
        rows = {row.name: row.revoked_at for row in session.scalars(select(ApiToken))}
        left = session.scalars(select(LoginSession)).all()
    assert rows["script"] is not None
    assert rows["nightly"] is None
    assert len(left) == (1 if way == "password" else 0)


def test_guesses_on_the_password_page_are_limited(sign_in: SignIn) -> None:
    browser = sign_in("ada")
    wrong = {"old": "wrong password", "new": "a new long password"}
    said = [
        browser.post("/account/password", data=wrong).status_code
        for _ in range(guesses.FAILURES_PER_ACCOUNT + 1)
    ]
    assert said == [422] * guesses.FAILURES_PER_ACCOUNT + [429]
    right = wrong | {"old": PASSWORD}
    assert browser.post("/account/password", data=right).status_code == 429


def test_one_browser_can_be_signed_out_from_another(
    sign_in: SignIn, client: TestClient, database: Database
) -> None:
    browser = sign_in("ada")
    form = {"email": "ada@example.org", "password": PASSWORD}
    agent = {"user-agent": "Lost laptop"}
    assert client.post("/sign-in", data=form, headers=agent).status_code == 303
    page = browser.get("/account", headers={"accept": "text/html"}).text
    assert "Lost laptop" in page
    assert page.count("this browser") == 1
    stranger = sign_in("bob")
    assert stranger.post("/account/sessions/2/end").status_code == 404
    assert browser.post("/account/sessions/2/end").status_code == 303
    signed_out = client.get("/account", headers={"accept": "application/json"})
    assert signed_out.status_code == 401
    assert browser.post("/account/sessions/2/end").status_code == 404


def test_a_person_downloads_what_is_kept_and_is_erased_after_the_account_is_closed(
    sign_in: SignIn, database: Database
) -> None:
    ada, root = sign_in("ada"), sign_in("root", is_admin=True)
    answer = ada.get("/account/download")
    assert answer.headers["content-disposition"] == 'attachment; filename="my-data.jsonl"'
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert {row["table"] for row in rows} == {"user", "login_session"}
    assert "root@example.org" not in answer.text
    with database.reader() as session:
        found = accounts.user_by_email(session, "ada@example.org")
        assert found is not None
    erase = f"/people/{found.id}/erase"
    assert erase not in root.get("/people").text
    refused = root.post(erase)
    assert (refused.status_code, "close it before erasing" in refused.text) == (409, True)
    root.post(f"/people/{found.id}/active", data={"active": "false"})
    assert erase in root.get("/people").text
    assert root.post(erase, data={"comments": "true"}).status_code == 303
    page = root.get("/people").text
    assert "ada@example.org" not in page
    assert erase not in page
    assert root.post("/people/9999/erase").status_code == 404
