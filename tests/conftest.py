"""Fixtures shared by all tests: databases, the application, signed-in clients."""

import contextlib
import functools
import gc
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

from app import queue
from app.db import Database, schema
from app.main import create_app
from app.models import User
from app.services.people import accounts, login_sessions
from app.settings import Settings
from app.web import security

# What libraries of numbers and the processes that tests start take from the environment. Threads
# that wait for each other over arrays this small cost more than they do, and a module that no
# process may keep compiled is compiled by each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No deadlines, because shared machines are slow at times. In CI the examples are fixed.
hypothesis.settings.register_profile("attune", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "attune")

POSTGRES = os.environ.get("ATTUNE_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432")
REDIS = os.environ.get("ATTUNE_TEST_REDIS", "redis://127.0.0.1:6379/9")
REQUIRE_SERVICES = os.environ.get("ATTUNE_TEST_REQUIRE") == "1"
PASSWORD = "correct horse battery"


def unavailable(reason: str) -> None:
    """Skip with the reason, or fail if the run requires the real services."""
    if REQUIRE_SERVICES:
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_collection_finish() -> None:
    """Take what is loaded out of the garbage collector's sight, which would look at it forever."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ATTUNE_"):  # the tests' own were read when this module was
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_log_to_a_stream_that_is_gone() -> Iterator[None]:
    """Reset the logging that an entry point configured, which writes to that test's stream."""
    root = logging.getLogger()
    level, before = root.level, set(root.handlers)
    yield
    root.setLevel(level)
    for handler in set(root.handlers) - before:
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


@pytest.fixture(autouse=True)
def _no_broker_of_another_test() -> Iterator[None]:
    """Forget the broker that a command configured for this process."""
    yield
    queue.configure(None)


@pytest.fixture(scope="session", autouse=True)
def _cheap_hashes() -> Iterator[None]:
    """Hash passwords with the least work: half a second in every test that signs in, otherwise."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "_hasher", cheap)
        patch.setattr(accounts, "_DUMMY_HASH", cheap.hash(secrets.token_hex()))
        yield


@functools.cache
def _built_routes() -> list[BaseRoute]:
    return create_app(Settings(secret_key="s" * 40), Database("sqlite://")).router.routes


def quick_app(settings: Settings, database: Database) -> FastAPI:
    """Assemble the application around routes that were built once.

    FastAPI builds what each route needs at the first request of an application, which takes
    longer than most tests.
    """
    application = create_app(settings, database)
    application.router.routes = _built_routes()
    return application


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a migrated SQLite file once; tests copy it."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite3"
    database = Database(f"sqlite:///{path}")
    schema.upgrade(database.engine)
    database.dispose()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Provide a fresh, migrated SQLite database."""
    path = tmp_path / "attune.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """Return the PostgreSQL server's URL, or skip with the reason."""
    engine = create_engine(f"{POSTGRES}/postgres")
    try:
        with engine.connect():
            pass
    except OperationalError:
        unavailable(f"no PostgreSQL answers at {POSTGRES}")
    finally:
        engine.dispose()
    return POSTGRES


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """Create a migrated PostgreSQL database once; tests copy it. Returns its name."""
    name = f"attune_test_{secrets.token_hex(6)}_template"
    admin = create_engine(f"{postgres_server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    database = Database(f"{postgres_server}/{name}")
    schema.upgrade(database.engine)
    database.dispose()
    yield name
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """Provide a fresh, migrated PostgreSQL database; drop it afterwards."""
    name = f"attune_test_{secrets.token_hex(6)}"
    admin = create_engine(f"{postgres_server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {postgres_template}"))
    yield f"{postgres_server}/{name}"
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def redis_url() -> str:
    """Return the Redis server's URL, or skip with the reason."""
    import redis  # noqa: PLC0415 - only the tests that need the broker

    client = redis.Redis.from_url(REDIS)
    try:
        client.ping()
    except redis.ConnectionError:
        unavailable(f"no Redis answers at {REDIS}")
    finally:
        client.close()
    return REDIS


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
def any_url(request: pytest.FixtureRequest) -> str:
    """Provide each kind of database in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """Provide an SQLite database."""
    found = Database(sqlite_url)
    yield found
    found.dispose()


@pytest.fixture
def any_database(any_url: str) -> Iterator[Database]:
    """Provide a database of each kind in turn."""
    found = Database(any_url)
    yield found
    found.dispose()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """Provide a writing session that is committed if the test passes."""
    with database.transaction() as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Settings:
    """Provide settings for a web application in a temporary folder."""
    return Settings(
        data_dir=tmp_path, database_url=sqlite_url, secret_key="s" * 40, allowed_base_models="*"
    )


@pytest.fixture
def application(settings: Settings, database: Database) -> FastAPI:
    """Provide the application."""
    return quick_app(settings, database)


@pytest.fixture
def client(application: Any) -> Iterator[TestClient]:
    """Provide a client that is not signed in."""
    with TestClient(application, base_url="http://127.0.0.1", follow_redirects=False) as found:
        yield found


@pytest.fixture
def make_user(database: Database) -> Callable[..., User]:
    """Provide a function that creates accounts."""

    def make(name: str = "lead", *, is_admin: bool = False) -> User:
        with database.transaction() as session:
            return accounts.create_user(
                session,
                email=f"{name}@example.org",
                name=name,
                password=PASSWORD,
                is_admin=is_admin,
            )

    return make


@pytest.fixture
def sign_in(
    application: Any, make_user: Callable[..., User]
) -> Iterator[Callable[..., TestClient]]:
    """Provide a function that creates an account and a client signed in with it.

    The browser sends the form token as a header, as the pages' scripts do. Its session is opened
    without the pages, which test_sign_in.py goes through: two requests in each test, otherwise.
    """
    with contextlib.ExitStack() as opened:

        def signed_in(name: str = "lead", *, is_admin: bool = False) -> TestClient:
            user = make_user(name, is_admin=is_admin)
            with application.state.database.transaction() as session:
                secret = login_sessions.begin(session, user.id, user_agent="testclient").secret
            browser = TestClient(application, base_url="http://127.0.0.1", follow_redirects=False)
            opened.callback(browser.close)
            browser.cookies.set("attune", secret, domain="127.0.0.1", path="/")
            token = security.form_token(application.state.secret, secret)
            browser.headers["x-csrf-token"] = security.mask(token)
            return browser

        yield signed_in
