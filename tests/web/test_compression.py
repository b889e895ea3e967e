"""Texts are compressed for those who accept it; streams, files and parts of files are not."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.web import compression, security
from app.web.compression import CompressionMiddleware

TEXT = "The library closes at eight. " * 200


async def _events() -> Any:
    for _ in range(3):
        yield TEXT


ANSWERS: dict[str, Callable[[], Response]] = {
    "page": lambda: Response(TEXT, media_type="text/html", headers={"etag": '"1"'}),
    "short": lambda: PlainTextResponse("ok"),
    "long": lambda: PlainTextResponse(" " * (compression.MOST + 1)),
    "picture": lambda: Response(TEXT, media_type="image/png"),
    "file": lambda: PlainTextResponse(TEXT, headers={"content-disposition": "attachment"}),
    "part": lambda: PlainTextResponse(TEXT, 206),
    "encoded": lambda: PlainTextResponse(TEXT, headers={"content-encoding": "zstd"}),
    "events": lambda: StreamingResponse(_events(), media_type="text/event-stream"),
    "lines": lambda: StreamingResponse(_events(), media_type="application/x-ndjson"),
    "stream": lambda: StreamingResponse(_events(), media_type="text/plain"),
}


@pytest.fixture(scope="module")
def served() -> TestClient:
    def route(name: str) -> Route:
        async def answer(_request: Any) -> Response:
            return ANSWERS[name]()

        return Route(f"/{name}", answer)

    application: Any = CompressionMiddleware(Starlette(routes=[route(name) for name in ANSWERS]))
    return TestClient(application)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("accepted", ["gzip, br", "*", "gzip;q=0, identity", ""])
def test_only_complete_texts_are_compressed_and_only_if_accepted(
    served: TestClient, name: str, accepted: str
) -> None:
    with served.stream("GET", f"/{name}", headers={"accept-encoding": accepted}) as answer:
        raw = b"".join(answer.iter_raw())
    is_packed = answer.headers.get("content-encoding") == "gzip"
    assert is_packed == (name == "page" and accepted in ("gzip, br", "*"))
    if name == "page":
        assert "Accept-Encoding" in answer.headers["vary"]
        assert int(answer.headers["content-length"]) == len(raw)
        assert answer.headers["etag"] == ('W/"1"' if is_packed else '"1"')
        assert (gzip.decompress(raw) if is_packed else raw) == TEXT.encode()
    if name == "stream":
        assert raw == TEXT.encode() * 3


def test_pages_scripts_and_answers_of_the_api_are_compressed(
    sign_in: Callable[..., TestClient],
) -> None:
    browser = sign_in("ada", is_admin=True)
    for path in ("/account", "/static/base/base.css", "/static/base/base.js", "/api/v1/commands"):
        answer = browser.get(path, headers={"accept-encoding": "gzip", "accept": "text/html"})
        assert answer.headers["content-encoding"] == "gzip", path
        assert int(answer.headers["content-length"]) < len(answer.content) / 2, path
    again = browser.get(
        "/static/base/base.css",
        headers={"if-none-match": browser.get("/static/base/base.css").headers["etag"]},
    )
    assert again.status_code == 304


def test_a_form_token_is_never_sent_twice_alike_and_stays_the_same_token() -> None:
    token = security.form_token(b"secret", "session")
    masked = {security.mask(token) for _ in range(50)}
    assert len(masked) == 50
    assert {security.unmask(one) for one in masked} == {token}
    assert not any(token in one for one in masked)
    assert security.unmask("x" * 128) == "x" * 128
    assert security.unmask(token) == token


def test_no_page_holds_the_bare_form_token(sign_in: Callable[..., TestClient]) -> None:
    browser = sign_in("ada")
    first, second = (browser.get("/account", headers={"accept": "text/html"}).text for _ in "12")
    tokens = [page.split('csrf-token" content="')[1].split('"')[0] for page in (first, second)]
    assert tokens[0] != tokens[1]
    assert security.unmask(tokens[0]) == security.unmask(tokens[1])
    assert security.unmask(tokens[0]) not in first
