"""Behind a proxy with TLS: cookies, client addresses and links are right, and plain http is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.db import Database
from app.errors import Invalid
from app.models import User
from app.services.people import sign_ins
from app.settings import Settings, load
from app.web import transport
from tests.conftest import PASSWORD, quick_app

PUBLIC = "https://attune.example.org"
FORWARDED = {
    "host": "attune.example.org",
    "x-forwarded-proto": "https",
    "x-forwarded-for": "198.51.100.7",
}


def behind(settings: Settings, database: Database, proxy: str, **changes: Any) -> TestClient:
    """Return a client whose requests come from the address of a proxy, as uvicorn takes them."""
    changed = settings.model_copy(update=changes)
    application: Any = quick_app(changed, database)
    wrapped: Any = ProxyHeadersMiddleware(application, trusted_hosts=changed.trusted_proxies)
    return TestClient(
        wrapped,
        base_url="http://10.0.0.5:8000",
        client=(proxy, 5000),
        follow_redirects=False,
    )


@pytest.fixture
def proxied(settings: Settings, database: Database) -> TestClient:
    return behind(
        settings, database, "172.18.0.1", public_url=PUBLIC, trusted_proxies="172.16.0.0/12"
    )


def test_cookies_are_secure_and_addresses_those_of_people(
    proxied: TestClient, make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user("ada")
    seen = []
    sign_in = sign_ins.with_password

    def note(*given: Any, **named: Any) -> Any:
        seen.append(named["address"])
        return sign_in(*given, **named)

    monkeypatch.setattr(sign_ins, "with_password", note)
    form = {"email": "ada@example.org", "password": PASSWORD}
    headers = FORWARDED | {"origin": PUBLIC, "sec-fetch-site": "same-origin"}
    answer = proxied.post("/sign-in", data=form, headers=headers)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-attune=")
    assert "Secure" in cookie
    assert seen == ["198.51.100.7"]


def test_a_form_from_the_public_address_passes_a_proxy_that_changes_the_host(
    proxied: TestClient,
) -> None:
    form = {"email": "ada@example.org", "password": "wrong password"}
    rewritten = FORWARDED | {"host": "web:8000", "origin": PUBLIC}
    assert proxied.post("/sign-in", data=form, headers=rewritten).status_code == 401
    foreign = FORWARDED | {"origin": "https://evil.example"}
    assert proxied.post("/tokens", headers=foreign).status_code == 403


def test_invitation_links_lead_to_the_public_address(
    sign_in: Callable[..., TestClient], settings: Settings
) -> None:
    admin = sign_in("root", is_admin=True)
    for public, start in (
        (PUBLIC, f"{PUBLIC}/invitation/"),
        (None, "http://localhost:8000/invitation/"),
    ):
        admin.app.state.settings = settings.model_copy(  # type: ignore[attr-defined]
            update={"public_url": public}
        )
        headers = {"host": "localhost:8000"}
        page = admin.post("/people/invite", data={"role": "labeler"}, headers=headers).text
        assert page.split("<pre>")[1].startswith(start)


@pytest.mark.parametrize(
    ("headers", "changes", "status"),
    [
        ({"host": "10.0.0.5:8000"}, {}, 403),
        ({"host": "[2001:db8::1]:8000"}, {}, 403),
        ({"host": "evil[::1"}, {}, 403),
        ({"host": "127.0.0.1:8000"}, {}, 200),
        ({"host": "[::1]:8000"}, {}, 200),
        ({"host": "10.0.0.5:8000"}, {"allow_plain_http": True}, 200),
        (FORWARDED, {"public_url": PUBLIC, "trusted_proxies": "10.1.0.1"}, 403),
        (FORWARDED, {"public_url": PUBLIC, "trusted_proxies": "10.0.0.0/24"}, 200),
        ({"host": "10.0.0.5"}, {"public_url": PUBLIC, "trusted_proxies": "10.0.0.9"}, 403),
    ],
)
def test_plain_http_is_refused_off_this_machine(
    settings: Settings,
    database: Database,
    headers: dict[str, str],
    changes: dict[str, Any],
    status: int,
) -> None:
    client = behind(settings, database, "10.0.0.9", **changes)
    answer = client.get("/sign-in", headers=headers)
    assert answer.status_code == status
    if status == 403:
        said = "ATTUNE_TRUSTED_PROXIES" if "public_url" in changes else "ATTUNE_ALLOW_PLAIN_HTTP"
        assert said in answer.json()["detail"]
    assert client.get("/livez", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "environment", "named"),
    [
        ("0.0.0.0", {}, "0.0.0.0 is reached from other machines"),
        ("127.0.0.1", {"PUBLIC_URL": "http://attune.example.org"}, "in plain http"),
        ("127.0.0.1", {"PUBLIC_URL": PUBLIC}, "TRUSTED_PROXIES"),
        ("::1", {}, ""),
        ("0.0.0.0", {"ALLOW_PLAIN_HTTP": "true"}, ""),
        ("0.0.0.0", {"PUBLIC_URL": "http://localhost:8000"}, ""),
        ("0.0.0.0", {"PUBLIC_URL": PUBLIC, "TRUSTED_PROXIES": "10.0.0.1"}, ""),
    ],
)
def test_a_server_is_not_started_where_nobody_can_sign_in_safely(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    environment: dict[str, str],
    named: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"ATTUNE_{name}", value)
    settings = load(data_dir=tmp_path)
    if named:
        with pytest.raises(Invalid, match=named):
            transport.check(settings, host)
    else:
        transport.check(settings, host)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PUBLIC_URL", "attune.example.org", "like https://attune.example.org, not 'attune"),
        ("TRUSTED_PROXIES", "10.0.0.1, nginx", "networks such as 10.0.0.0/8, not 'nginx'"),
        ("PORT", "http", "integer.*, not 'http'"),
        ("PORT", "70000", "65535, not '70000'"),
        ("LOG_LEVEL", "loud", "'info'.*, not 'loud'"),
    ],
)
def test_a_setting_that_breaks_a_rule_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"ATTUNE_{name}", value)
    with pytest.raises(Invalid, match=f"^ATTUNE_{name}: .*{said}"):
        load(data_dir=tmp_path)


def test_compose_passes_what_tls_needs(tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "docker-compose.yml"
    environment = yaml.safe_load(file.read_text())["x-attune"]["environment"]
    proxies = environment["ATTUNE_TRUSTED_PROXIES"].partition(":-")[2].rstrip("}")
    for public in (PUBLIC, environment["ATTUNE_PUBLIC_URL"].partition(":-")[2].rstrip("}")):
        settings = load(data_dir=tmp_path, public_url=public, trusted_proxies=proxies)
        transport.check(settings, "0.0.0.0")
