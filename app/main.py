"""`create_app(settings)`: the one place where the web application is assembled."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles
from starlette.types import Message

import app.web.api
import app.web.pages
from app import queue
from app.db import Database
from app.domain.single_sign_on import SingleSignOn
from app.errors import Unavailable
from app.settings import Settings
from app.web import errors, openapi
from app.web.compression import CompressionMiddleware
from app.web.head_requests import HeadMiddleware
from app.web.render import STATIC
from app.web.security import SecurityMiddleware

THREADS = 40
BUSIEST = "app.web.api.labeling"


def create_app(
    settings: Settings, database: Database | None = None, *, threads: int = THREADS
) -> FastAPI:
    """Assemble the application; only the database's connection pool is opened.

    Raises:
        Invalid: the settings of single sign-on are incomplete.
        Unavailable: single sign-on is configured, and what it needs is not installed.
    """

    @asynccontextmanager
    async def lifespan(started: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = threads
        await _build_routes(started)
        yield

    application = FastAPI(
        title="Attune",
        summary="Human preference labeling that closes the loop.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    application.state.settings = settings
    application.state.database = database or Database(settings.database, pool_size=threads)
    engine = application.state.database.engine
    application.state.write_gate = asyncio.Lock() if engine.dialect.name == "sqlite" else None
    application.state.seats = asyncio.Semaphore(threads)
    application.state.streams = Counter()  # of chats, by whose they are
    application.state.secret = settings.secret
    application.state.oidc = _provider(settings)
    application.state.artifacts = settings.artifacts
    queue.configure(settings.broker_url)
    for name in _route_modules():
        application.include_router(import_module(name).router)
    application.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
    errors.install(application)
    openapi.install(application)
    application.add_middleware(CompressionMiddleware)
    application.add_middleware(
        SecurityMiddleware,
        max_body_bytes=settings.max_upload_mib * 2**20,
        on_error=errors.on_error,
    )
    application.add_middleware(HeadMiddleware)
    return application


async def _build_routes(application: FastAPI) -> None:
    """Look an unknown path up, so that the first person does not wait for what routes need.

    FastAPI builds each route when a path is first compared with it, a second for all of them.
    """
    scope = {"type": "http", "method": "GET", "path": "/-", "root_path": "", "headers": []}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Message) -> None:
        return None

    await application.router(scope, receive, send)


def _provider(settings: Settings) -> Any:
    """Return the single sign-on provider, whose module needs the extra `oidc`; None without one."""
    setup = SingleSignOn.of(settings)
    if setup is None:
        return None
    if find_spec("authlib") is None:
        raise Unavailable(
            "ATTUNE_OIDC_ISSUER is set, but authlib is not installed: install attune[oidc]"
        )
    return import_module("app.web.oidc_provider").Provider(setup)


def _route_modules() -> list[str]:
    """Name the modules with routes, the busiest first, because routes are matched in order."""
    names = [
        f"{package.__name__}.{module.name}"
        for package in (app.web.pages, app.web.api)
        for module in iter_modules(package.__path__)
    ]
    return sorted(names, key=lambda name: name != BUSIEST)
