"""A stranger freezes a process: bodies are read after authorization, and within bounds."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from fastapi import UploadFile
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.errors import Invalid
from app.web import json_bodies
from app.web.guarded_route import BODY_MOST, PUBLIC_MOST
from app.web.security import SAFE_METHODS
from tests.web.routes import path_of, policies_of, routes_of

MIB = 2**20


def ask(application: Any, method: str, path: str, headers: dict[str, str]) -> tuple[int, int]:
    """Send a request whose body never ends; return the status, and how often it was read."""
    reads, statuses = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        if reads > 3:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"[],", "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    with start_blocking_portal() as portal:  # browser tests leave a loop running in this thread
        portal.call(application, scope, receive, send)
    return statuses[0], reads


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_no_body_is_read_before_its_sender_is_authorized(application: Any, kind: str) -> None:
    headers = {"host": "127.0.0.1", "content-type": kind, "transfer-encoding": "chunked"}
    forged = headers | {"authorization": "Bearer att_unknown"}
    checked = 0
    for route in routes_of(application):
        if policies_of(route.dependant) == {"public"}:
            continue
        for method in (route.methods or set()) - SAFE_METHODS:
            askers = [headers] if checked % 10 else [headers, forged]
            for asker in askers:
                status, reads = ask(application, method, path_of(route), asker)
                assert (status, reads) == (401, 0), f"{method} {route.path}"
            checked += 1
    assert checked > 100


def _takes_file(route: APIRoute) -> bool:
    fields = route.dependant.body_params
    texts = [str(field.field_info.annotation) for field in fields]
    for field in fields:
        inner = getattr(field.field_info.annotation, "model_fields", {})
        texts += [str(part.annotation) for part in inner.values()]
    return any(UploadFile.__name__ in text for text in texts)


def test_only_uploads_take_bodies_as_large_as_uploads(application: Any) -> None:
    marked = {
        route.path for route in routes_of(application)
        if getattr(route.endpoint, "body_most", BODY_MOST) is None
    }  # fmt: skip
    taking = {route.path for route in routes_of(application) if _takes_file(route)}
    raw = {f"/api/v1/projects/{{slug}}/imports{end}" for end in ("", "/preview")}
    assert marked == taking | raw


def test_a_body_over_its_limit_is_refused_by_its_size(sign_in: Callable[..., TestClient]) -> None:
    browser = sign_in("admin", is_admin=True)
    json_type = {"content-type": "application/json"}
    large = b'{"name": "' + b"x" * MIB + b'"}'
    declared = browser.post("/api/v1/projects", content=large, headers=json_type)
    streamed = browser.post(
        "/api/v1/projects", content=iter([large[:MIB], large[MIB:]]), headers=json_type
    )
    for refused in (declared, streamed):
        assert refused.status_code == 413
        assert refused.json()["detail"] == "the body of this request may have 1 MiB, no more"
    form = b"email=a&password=" + b"x" * PUBLIC_MOST
    kind = {"content-type": "application/x-www-form-urlencoded"}
    anyone = browser.post("/sign-in", content=form, headers=kind)
    assert anyone.status_code == 413
    assert "64 KiB" in anyone.json()["detail"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[" * 65 + "]" * 65, "64 levels deep"),
        ("[" + "[]," * 100_000 + "1]", "100,000 values"),
        ('{"a": ["ok", "\\ud800"]}', r"a\.1 has half of a surrogate pair \(U\+D800\)"),
        ('{"a": {"b": "x\\u0000"}}', r"a\.b has a NUL character"),
        ('{"\\u0000": 1}', "a name in the body has a NUL character"),
        ('"\\udfff"', "the body has half of a surrogate pair"),
        ("[NaN]", "NaN is not a number in JSON"),
        ("[" + "9" * 5000 + "]", "0 has 5000 digits; a number may have 300"),
        ('{"gold_rate": -1e400}', "gold_rate must be at most 1.7e308 in size, not -1e400"),
        (b'"\xff"', "must be UTF-8; byte 1 is not"),
        (b'"\xed\xa0\x80"', "must be UTF-8"),
    ],
)
def test_a_body_that_cannot_be_stored_is_refused_by_name(body: str | bytes, reason: str) -> None:
    given = body if isinstance(body, bytes) else body.encode()
    with pytest.raises(Invalid, match=reason):
        json_bodies.parse(given)


def test_bodies_that_can_be_stored_are_read_as_they_are() -> None:
    value = {"a": ['[{,"\\', "\U0001f600", "é"], "deep": json.loads("[" * 60 + "]" * 60), "n": 1e3}
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert json_bodies.parse(text.encode()) == value
    assert json_bodies.parse(b"\xef\xbb\xbf[1]") == [1]
    with pytest.raises(json.JSONDecodeError):
        json_bodies.parse(b"[1,]")


@pytest.mark.parametrize(
    "body", [b"[]," * (MIB // 3), b'"\\"' * (MIB // 3), b'"' + b'\\"' * (MIB // 2) + b"\\"]
)
def test_a_body_is_judged_in_time_linear_in_its_length(body: bytes) -> None:
    started = time.process_time()
    with pytest.raises((Invalid, json.JSONDecodeError)):
        json_bodies.parse(body)
    assert time.process_time() - started < 2.0
