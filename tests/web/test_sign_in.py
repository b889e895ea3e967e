"""Signing in and out, forged requests, throttling, tokens, invitations."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import Database, now
from app.models import Invitation, User
from app.services.people import accounts, guesses
from app.services.project import projects
from tests.conftest import PASSWORD

Make = Callable[..., User]
SignIn = Callable[..., TestClient]


def test_a_wrong_password_and_an_unknown_address_read_the_same(
    client: TestClient, make_user: Make
) -> None:
    make_user("ada")
    answers = {
        client.post("/sign-in", data={"email": email, "password": "wrong password"}).text.replace(
            email, ""
        )
        for email in ("ada@example.org", "bob@example.org")
    }
    assert len(answers) == 1


def test_signing_in_gives_a_new_session_each_time(client: TestClient, make_user: Make) -> None:
    make_user("ada")
    form = {"email": "ada@example.org", "password": PASSWORD}
    first = client.post("/sign-in", data=form).cookies["attune"]
    client.cookies.clear()
    assert client.post("/sign-in", data=form).cookies["attune"] != first


def test_ten_failures_close_the_account_for_a_while(client: TestClient, make_user: Make) -> None:
    make_user("ada")
    for _ in range(guesses.FAILURES_PER_ACCOUNT):
        client.post("/sign-in", data={"email": "ada@example.org", "password": "wrong password"})
    right = client.post("/sign-in", data={"email": "ada@example.org", "password": PASSWORD})
    assert right.status_code == 429
    assert int(right.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}]
)
def test_another_site_cannot_send_our_forms(sign_in: SignIn, headers: dict[str, str]) -> None:
    browser = sign_in("ada")
    answer = browser.post("/account", data={"name": "Eve"}, headers=headers)
    assert answer.status_code == 403


def test_a_form_without_its_token_changes_nothing(sign_in: SignIn) -> None:
    browser = sign_in("ada")
    del browser.headers["x-csrf-token"]
    assert browser.post("/account", data={"name": "Eve"}).status_code == 403
    browser.headers["accept"] = "text/html"
    assert 'value="Eve"' not in browser.get("/account").text


def test_the_token_in_the_form_is_enough(sign_in: SignIn) -> None:
    browser = sign_in("ada")
    token = browser.headers.pop("x-csrf-token")
    answer = browser.post("/account", data={"name": "Ada L.", "csrf_token": token})
    assert answer.status_code == 303


def test_signing_out_ends_the_session_on_the_server(sign_in: SignIn) -> None:
    browser = sign_in("ada")
    cookie = browser.cookies["attune"]
    browser.post("/sign-out")
    browser.cookies.set("attune", cookie)
    assert browser.get("/account", headers={"accept": "application/json"}).status_code == 401


def test_the_next_page_is_never_another_site(client: TestClient, make_user: Make) -> None:
    make_user("ada")
    for target in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        form = {"email": "ada@example.org", "password": PASSWORD, "next": target}
        assert client.post("/sign-in", data=form).headers["location"] == "/"
        client.cookies.clear()


def test_a_token_is_shown_once_works_and_can_be_revoked(sign_in: SignIn) -> None:
    browser = sign_in("ada")
    page = browser.post("/tokens", data={"name": "script", "scopes": ["read"]}).text
    secret = page.split("<pre>")[1].split("</pre>")[0]
    assert secret not in browser.get("/tokens").text
    script = {"authorization": f"Bearer {secret}", "accept": "application/json"}
    browser.cookies.clear()
    assert browser.get("/account", headers=script).status_code == 200
    assert browser.post("/account", data={"name": "X"}, headers=script).status_code == 403


def test_a_revoked_token_opens_nothing(
    database: Database, client: TestClient, make_user: Make
) -> None:
    user = make_user("ada")
    with database.transaction() as session:
        credential = accounts.create_token(session, user, name="script", scopes=["read"])
        accounts.revoke_token(session, user, credential.id)
    headers = {"authorization": f"Bearer {credential.secret}", "accept": "application/json"}
    assert client.get("/account", headers=headers).status_code == 401


def test_an_invitation_works_once(sign_in: SignIn, application: Any) -> None:
    admin = sign_in("root", is_admin=True)
    link = admin.post("/people/invite", data={"role": "labeler"}).text.split("<pre>")[1]
    path = link.split("</pre>")[0].removeprefix("http://127.0.0.1")
    form = {"name": "New", "email": "new@example.org", "password": PASSWORD}
    with TestClient(application, base_url="http://127.0.0.1", follow_redirects=False) as guest:
        assert guest.get(path).status_code == 200
        assert guest.post(path, data=form).status_code == 303
        assert guest.get("/account").status_code == 200
    with TestClient(application, base_url="http://127.0.0.1", follow_redirects=False) as second:
        assert second.post(path, data=form | {"email": "b@example.org"}).status_code == 404


def _invited(admin: TestClient, **form: str) -> str:
    """Make an invitation; return the path of its link."""
    page = admin.post("/people/invite", data={"role": "labeler"} | form).text
    return page.split("<pre>")[1].split("</pre>")[0].removeprefix("http://127.0.0.1")


def test_an_invitation_into_a_project_leads_there(
    sign_in: SignIn, client: TestClient, database: Database
) -> None:
    admin = sign_in("root", is_admin=True)
    with database.transaction() as session:
        projects.create(session, name="Desk", owner=session.get_one(User, 1))
    form = {"name": "New", "email": "new@example.org", "password": PASSWORD}
    path = _invited(admin, project="desk")
    assert "You are invited to Desk" in client.get(path).text
    assert client.post(path, data=form).headers["location"] == "/p/desk/label"
    assert client.get("/p/desk/label", headers={"accept": "text/html"}).status_code == 200
    lead = sign_in("lead")
    joined = lead.post(_invited(admin, project="desk", role="lead"))
    assert joined.headers["location"] == "/p/desk"
    assert lead.get("/p/desk/settings").status_code == 200


def test_a_link_says_whether_it_was_used_is_closed_or_never_was(
    sign_in: SignIn, client: TestClient, database: Database
) -> None:
    admin = sign_in("root", is_admin=True)
    used, expired, revoked = (_invited(admin) for _ in range(3))
    assert sign_in("ada").post(used).status_code == 303
    with database.transaction() as session:
        session.get_one(Invitation, 2).expires_at = now(session) - timedelta(seconds=1)
    assert "Revoke" in admin.get("/people").text
    assert admin.post("/people/invitations/3/revoke").status_code == 303
    assert admin.post("/people/invitations/3/revoke").status_code == 404
    assert "Revoke" not in admin.get("/people").text
    for path, said in (
        (used, "was used already"),
        (expired, "no longer open"),
        (revoked, "no longer open"),
        ("/invitation/never-was", "no such invitation"),
    ):
        for answer in (client.get(path), client.post(path, data={"name": "x"})):
            assert answer.status_code == 404
            assert said in answer.text


def test_an_invitation_for_an_address_takes_no_other(sign_in: SignIn, client: TestClient) -> None:
    path = _invited(sign_in("root", is_admin=True), email="new@example.org")
    form = {"name": "New", "email": "other@example.org", "password": PASSWORD}
    assert client.post(path, data=form).status_code == 422
    assert client.post(path, data=form | {"email": "New@example.org "}).status_code == 303


def test_people_is_for_administrators(sign_in: SignIn) -> None:
    assert sign_in("ada").get("/people").status_code == 403
    assert sign_in("root", is_admin=True).get("/people").status_code == 200
