"""`doctor` finds each of these faults, seeded one at a time, and never ends in a traceback."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner

from app.cli.main import app
from app.db import Database
from app.models import SecondFactor
from app.services.people import accounts, second_factors
from app.settings import load

runner = CliRunner()
SECRET = {"SECRET_KEY": "s" * 40}
ONE_SIGN_ON = {
    "OIDC_ISSUER": "https://login.example.org",
    "OIDC_CLIENT_ID": "x",
    "OIDC_CLIENT_SECRET": "x",
    "PUBLIC_URL": "http://localhost:8000",
}


@dataclass(frozen=True)
class Place:
    """Where a fault is seeded."""

    folder: Path
    database: Path
    port: int


Seed = Callable[[Place], dict[str, str]]


@pytest.fixture
def place(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path / "data"))
    with socket.create_server(("127.0.0.1", 0)) as busy:
        (tmp_path / "data").mkdir()
        yield Place(tmp_path / "data", Path(sqlite_url.removeprefix("sqlite:///")), _port(busy))


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def _open_to_others(name: str) -> Seed:
    def seed(place: Place) -> dict[str, str]:
        path = place.folder / name
        path.write_bytes(place.database.read_bytes() if name != "secret" else b"s" * 48)
        path.chmod(0o644)
        return {}

    return seed


def _secret_file(mode: int) -> Seed:
    def seed(place: Place) -> dict[str, str]:
        path = place.folder / "key"
        path.write_text("s" * 40)
        path.chmod(mode)
        return {"SECRET_KEY_FILE": str(path)}

    return seed


def _revision(value: str) -> Seed:
    def seed(place: Place) -> dict[str, str]:
        database = Database(f"sqlite:///{place.database}")
        with database.transaction() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :at"), {"at": value})
        database.dispose()
        return SECRET | {"DATABASE_URL": f"sqlite:///{place.database}"}

    return seed


def _empty(place: Place) -> dict[str, str]:
    return SECRET | {"DATABASE_URL": f"sqlite:///{place.folder / 'empty.sqlite3'}"}


def _second_factor(place: Place) -> dict[str, str]:
    database = Database(f"sqlite:///{place.database}")
    with database.transaction() as session:
        user = accounts.create_user(session, email="a@example.org", name="Ada", password=None)
        second_factors.begin(session, user, b"another secret" * 3)
        session.scalars(select(SecondFactor)).one().confirmed_at = user.created_at
    database.dispose()
    return SECRET | {"DATABASE_URL": f"sqlite:///{place.database}"}


def _file_for_a_folder(place: Place) -> dict[str, str]:
    (place.folder / "file").write_text("")
    return {"DATA_DIR": str(place.folder / "file")}


FAULTS: dict[str, tuple[Seed | dict[str, str], str, str]] = {
    "misspelled setting": ({"DATABSE_URL": "x"}, "settings", "ATTUNE_DATABSE_URL"),
    "port that is no number": ({"PORT": "http"}, "settings", "ATTUNE_PORT"),
    "log level": ({"LOG_LEVEL": "loud"}, "settings", "ATTUNE_LOG_LEVEL"),
    "public URL": ({"PUBLIC_URL": "attune.example.org"}, "settings", "like https://"),
    "proxy that is no address": ({"TRUSTED_PROXIES": "nginx"}, "settings", "'nginx'"),
    "short secret": ({"SECRET_KEY": "short"}, "secret", "at least 32 characters, not 5"),
    "no secret": ({"DATABASE_URL": "sqlite://"}, "secret", "must be set"),
    "secret others can read": (_open_to_others("secret"), "private", "chmod 600"),
    "secret file others can read": (_secret_file(0o644), "secret files", "chmod o-r"),
    "secret file that is not there": ({"SECRET_KEY_FILE": "/none"}, "settings", "/none cannot be"),
    "database others can read": (_open_to_others("attune.sqlite3"), "private", "chmod 600"),
    "data folder that is a file": (_file_for_a_folder, "folder", "is not a folder"),
    "database URL": ({"DATABASE_URL": "not a url"}, "database", "cannot be read"),
    "database of another kind": ({"DATABASE_URL": "mysql://db/x"}, "database", "not mysql://"),
    "database driver": ({"DATABASE_URL": "postgresql+x://db/x"}, "database", "cannot be read"),
    "database that is down": (
        {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"},
        "database",
        "not responding",
    ),
    "older database": (_revision("4be17d93a0c6"), "database", "run attune migrate"),
    "database without tables": (_empty, "database", "it has no tables yet: run attune migrate"),
    "newer database": (_revision("ffffffffffff"), "database", "newer version"),
    "shared SQLite": ({"DATABASE_URL": "sqlite://"}, "sqlite", "PostgreSQL"),
    "broker URL": ({"BROKER_URL": "localhost:6379"}, "broker", "redis://"),
    "broker that is down": ({"BROKER_URL": "redis://127.0.0.1:9/0"}, "broker", "none is lost"),
    "artifact root of unknown kind": ({"ARTIFACTS_URL": "ftps3://x"}, "artifacts", "ftps3://"),
    "artifact root without library": ({"ARTIFACTS_URL": "gs://x"}, "artifacts", "gcsfs"),
    "artifact root that is a file": ({"ARTIFACTS_URL": "/etc/passwd"}, "artifacts", "not a folder"),
    "adapter folder that is a file": (
        {"ADAPTER_FOLDER": "/etc/passwd"},
        "adapters",
        "not a folder",
    ),
    "adapter folder without a root": (
        {"ADAPTER_FOLDER": "adapters"},
        "adapters",
        "not an absolute",
    ),
    "lease shorter than two heartbeats": ({"JOB_LEASE_S": "10"}, "jobs", "two heartbeats"),
    "sweep longer than the lease": ({"JOB_SWEEP_S": "90"}, "jobs", "longer than the lease"),
    "https without trusted proxies": (
        {"PUBLIC_URL": "https://attune.example.org"},
        "https",
        "ATTUNE_TRUSTED_PROXIES",
    ),
    "plain http for others": ({"HOST": "0.0.0.0"}, "https", "ATTUNE_ALLOW_PLAIN_HTTP"),
    "any proxy": ({"TRUSTED_PROXIES": "*"}, "proxies", "forge"),
    "single sign-on without a client": (
        {"OIDC_ISSUER": "https://login.example.org"},
        "single sign-on",
        "not ATTUNE_OIDC_CLIENT_ID",
    ),
    "single sign-on without a secret": (
        {"OIDC_ISSUER": "https://login.example.org", "OIDC_CLIENT_ID": "x"},
        "single sign-on",
        "ATTUNE_OIDC_CLIENT_SECRET_FILE",
    ),
    "a client without single sign-on": (
        {"OIDC_CLIENT_ID": "x"},
        "single sign-on",
        "not ATTUNE_OIDC_ISSUER",
    ),
    "domains without single sign-on": (
        {"OIDC_ALLOWED_DOMAINS": "example.org"},
        "single sign-on",
        "ATTUNE_OIDC_ALLOWED_DOMAINS is set",
    ),
    "single sign-on without a public URL": (
        {name: one for name, one in ONE_SIGN_ON.items() if name != "PUBLIC_URL"},
        "single sign-on",
        "ATTUNE_PUBLIC_URL",
    ),
    "single sign-on in plain http": (
        ONE_SIGN_ON | {"OIDC_ISSUER": "http://login.example.org"},
        "single sign-on",
        "such as https://",
    ),
    "single sign-on without the scope": (
        ONE_SIGN_ON | {"OIDC_SCOPES": "email"},
        "single sign-on",
        "must have openid",
    ),
    "an address for a domain": (
        ONE_SIGN_ON | {"OIDC_ALLOWED_DOMAINS": "@example.org"},
        "single sign-on",
        "'@example.org'",
    ),
    "a secret file that is not there": (
        ONE_SIGN_ON | {"OIDC_CLIENT_SECRET": "", "OIDC_CLIENT_SECRET_FILE": "/none/such"},
        "single sign-on",
        "/none/such cannot be read",
    ),
    "accounts for everyone": (
        ONE_SIGN_ON | {"OIDC_CREATES_ACCOUNTS": "true"},
        "single sign-on",
        "ATTUNE_OIDC_ALLOWED_DOMAINS",
    ),
    "codes that a new secret cannot check": (_second_factor, "two-factor", "the codes of 1 user"),
    "busy port": (lambda place: {"PORT": str(place.port)}, "port", "cannot be bound"),
    "completion server": ({"COMPLETION_SERVERS": "vllm:8000"}, "servers", "'vllm:8000'"),
    "judge server": ({"JUDGE_SERVERS": "vllm:8000"}, "servers", "ATTUNE_JUDGE_SERVERS"),
    "key of a judge server": (
        {"JUDGE_SERVERS": "https://api.example.com/v1=NO_SUCH_KEY"},
        "servers",
        "NO_SUCH_KEY",
    ),
    "no base models": ({"DATABASE_URL": "sqlite://"}, "base models", "only the starter"),
    "every base model on a shared database": (
        {"DATABASE_URL": "sqlite://", "ALLOWED_BASE_MODELS": "*"},
        "base models",
        "any folder",
    ),
}


def _findings() -> list[dict[str, str]]:
    result = runner.invoke(app, ["doctor", "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    found: list[dict[str, str]] = json.loads(result.stdout)["findings"]
    assert result.exit_code == any(one["state"] == "fail" for one in found)
    return found


def test_doctor_finds_nothing_on_a_fresh_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path / "new"))
    monkeypatch.setenv("ATTUNE_PORT", "0")
    assert [one for one in _findings() if one["state"] == "fail"] == []
    assert not (tmp_path / "new").exists(), "it changes nothing"
    assert "could not" not in runner.invoke(app, ["doctor"]).output


def test_doctor_finds_nothing_wrong_with_a_prepared_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTUNE_PORT", "0")
    settings = load()
    (settings.data_dir / "attune.sqlite3").write_bytes(place.database.read_bytes())
    (settings.data_dir / "attune.sqlite3").chmod(0o600)
    assert settings.secret
    said = {one["name"]: one for one in _findings()}
    assert {one["state"] for one in said.values()} <= {"ok", "warn"}
    assert said["database"]["message"].startswith("responding; revision")
    assert said["pages"]["state"] == "ok"


@pytest.mark.parametrize("fault", FAULTS)
def test_doctor_finds_a_seeded_fault(
    place: Place, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    seed, name, said = FAULTS[fault]
    given = seed if isinstance(seed, dict) else seed(place)
    for setting, value in given.items():
        monkeypatch.setenv(f"ATTUNE_{setting}", value)
    found = [one for one in _findings() if one["name"] == name and one["state"] != "ok"]
    assert any(said in one["message"] for one in found), found
