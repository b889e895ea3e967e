"""HEAD says what GET would: by the middleware alone, over the application, and over a socket."""

from collections.abc import Callable
from typing import Any

import anyio
from fastapi.testclient import TestClient
from sqlalchemy import select
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.db import Database
from app.models import User
from app.services.project import projects
from app.web.head_requests import HeadMiddleware
from tests.web.routes import path_of, routes_of

PLAIN = {"accept-encoding": "identity"}


def test_head_has_the_status_and_headers_of_get_on_every_route(
    application: Any, sign_in: Callable[..., TestClient], database: Database
) -> None:
    """Whom a policy refuses is refused HEAD too, which the matrix of routes and askers shows."""
    lead = sign_in("lead", is_admin=True)
    with database.transaction() as session:
        projects.create(session, name="own", owner=session.scalars(select(User)).one())
    statuses = set()
    for route in routes_of(application):
        if "GET" in (route.methods or ()):
            got, head = (ask(path_of(route), headers=PLAIN) for ask in (lead.get, lead.head))
            assert (head.status_code, head.content) == (got.status_code, b""), route.path
            assert _headers(head) == _headers(got), route.path
            statuses.add(head.status_code)
    assert {200, 303, 404} <= statuses


def _headers(answer: Any) -> dict[str, str]:
    own = {"x-request-id", "set-cookie", "content-length"}  # of this request alone
    return {name: value for name, value in answer.headers.items() if name not in own}


def test_head_knows_the_length_and_needs_no_entry_in_the_description(
    application: Any, client: TestClient
) -> None:
    assert client.head("/livez").headers["content-length"] == "14"
    assert client.head("/static/base/base.css").headers["content-length"] != "0"
    packed = client.head("/sign-in", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    described = application.openapi()["paths"].values()
    assert not any("head" in methods for methods in described)
    posted = client.head("/sign-out")
    assert (posted.status_code, posted.headers["allow"]) == (405, "POST")


def test_a_stream_ends_with_its_headers_and_a_whole_response_runs_to_its_end() -> None:
    done: list[str] = []

    async def stream(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"1")]})
        try:
            for _ in range(100):
                done.append("chunk")
                await send({"type": "http.response.body", "body": b"more", "more_body": True})
                await anyio.sleep(0)
        finally:
            done.append("closed")

    whole = PlainTextResponse("all", background=BackgroundTask(done.append, "noted"))
    head = TestClient(HeadMiddleware(stream)).head("/")
    assert (head.status_code, head.headers["x"], head.content) == (200, "1", b"")
    assert TestClient(HeadMiddleware(whole)).head("/").headers["content-length"] == "3"
    assert done == ["chunk", "closed", "noted"]
