"""`create_app(settings)`: the one place where the web application is assembled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pkgutil import iter_modules

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

import app.web.api
import app.web.pages
from app import queue
from app.db import Database
from app.settings import Settings
from app.web import errors
from app.web.render import STATIC
from app.web.security import SecurityMiddleware

THREADS = 40
BUSIEST = "app.web.api.labeling"


def create_app(
    settings: Settings, database: Database | None = None, *, threads: int = THREADS
) -> FastAPI:
    """Assemble the application; only the database's connection pool is opened."""

    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = threads
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
    application.state.secret = settings.secret
    application.state.artifacts = settings.artifacts
    queue.configure(settings.broker_url)
    for name in _route_modules():
        application.include_router(import_module(name).router)
    application.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
    errors.install(application)
    application.add_middleware(SecurityMiddleware, max_body_bytes=settings.max_upload_mib * 2**20)
    return application


def _route_modules() -> list[str]:
    """Name the modules with routes, the busiest first, because routes are matched in order."""
    names = [
        f"{package.__name__}.{module.name}"
        for package in (app.web.pages, app.web.api)
        for module in iter_modules(package.__path__)
    ]
    return sorted(names, key=lambda name: name != BUSIEST)
