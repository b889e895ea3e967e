"""What a connection may send before there is a request: small heads, and something now and then."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.db import Database
from app.settings import Settings
from app.web import http_protocol, security
from tests.conftest import quick_app
from tests.live import serve

HEAD = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n"


@pytest.fixture
def address(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(http_protocol, "IDLE_S", 1.0)
    with serve(quick_app(settings, database)) as url:
        found = urlsplit(url)
        yield str(found.hostname), int(found.port or 0)


def converse(address: tuple[str, int], *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces until the server has had enough; return all that it answers."""
    with socket.create_connection(address, timeout=30) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
        except OSError:  # it has closed
            pass
        said = b""
        try:
            while piece := connection.recv(2**16):
                said += piece
        except OSError:
            pass
    return said


def problem_of(said: bytes) -> tuple[int, str]:
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert security.HEADERS.items() <= headers.items()
    problem: dict[str, Any] = json.loads(body)
    assert headers["x-request-id"] == problem["request_id"]
    return int(lines[0].split()[1]), problem["detail"]


def test_a_head_without_end_is_refused_at_once(address: tuple[str, int]) -> None:
    started = time.process_time()
    refused = 0
    for endless in (
        b"GET /livez?" + b"a" * 2**22,
        HEAD + b"x: " + b"a" * 2**22,
        HEAD + b"x: a\r\n" * 2**19,
        HEAD + b"a" * 2**22,
    ):
        pieces = (endless[at : at + 2**14] for at in range(0, len(endless), 2**14))
        said = converse(address, *pieces)
        if said:  # else the connection was reset while the client still sent
            assert problem_of(said) == (431, "the headers may have 64 KiB, no more")
            refused += 1
    assert refused > 0
    assert time.process_time() - started < 4.0
    assert b"200 OK" in converse(address, HEAD + b"connection: close\r\n\r\n")


def test_what_is_not_http_is_told_so_with_the_usual_headers(address: tuple[str, int]) -> None:
    for said in (
        b"\x16\x03\x01 hello",
        b"GET //[ HTTP/1.1",
        b"GET /" + b"a" * 65_400 + b" HTTP/1.1",
    ):
        status, _ = problem_of(converse(address, said + b"\r\nhost: x\r\n\r\n"))
        assert status in {400, 403}


def test_a_length_of_very_many_digits_is_a_number(address: tuple[str, int]) -> None:
    head = b"POST /sign-in HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: "
    assert b"415 Unsupported" in converse(address, head + b"0" * 5000 + b"1\r\n\r\na")
    assert b"413 " in converse(address, head + b"0" * 5000 + b"9" * 18 + b"\r\n\r\na")


def test_a_client_that_falls_silent_is_let_go(address: tuple[str, int]) -> None:
    body = b"POST /sign-in HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n"
    kind = b"content-type: application/x-www-form-urlencoded\r\n\r\nemail="
    for begun in (HEAD, body + kind):
        with socket.create_connection(address, timeout=30) as connection:
            connection.sendall(begun)
            said = b"".join(iter(lambda: connection.recv(2**16), b""))
        assert problem_of(said) == (408, "the request sent nothing for 1 seconds")
    with socket.create_connection(address, timeout=30) as connection:
        assert connection.recv(1) == b"", "nothing was asked, so nothing is answered"


@pytest.mark.parametrize("start", [HEAD, b"\r\n"])
def test_a_head_that_comes_in_drops_is_refused(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_S", 1.0)
    drops = [b"\r\n"] * 8 if start == b"\r\n" else [b"x: a\r\n"] * 8
    said = converse(address, start, *drops, pause_s=0.3)
    assert problem_of(said) == (408, "the headers took more than 1 seconds")


def test_a_body_that_comes_in_drops_is_refused_and_a_slow_one_is_read(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "BODY_S", 0.8)
    monkeypatch.setattr(http_protocol, "BODY_LEAST", 100)
    head = b"POST /sign-in HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2000\r\n"
    head += b"content-type: application/x-www-form-urlencoded\r\nconnection: close\r\n\r\n"
    said = converse(address, head, *[b"a" * 10] * 8, pause_s=0.3)
    assert problem_of(said) == (408, "the body sent less than 100 bytes in 1 seconds")
    said = converse(address, head, *[b"a" * 200] * 10, pause_s=0.3)
    assert b"422 Unprocessable" in said


def test_an_empty_line_after_an_answer_does_not_keep_the_connection(
    address: tuple[str, int],
) -> None:
    with socket.create_connection(address, timeout=8) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert b"200 OK" in connection.recv(2**16)
        connection.sendall(b"\r\n")
        said = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert problem_of(said) == (408, "the request sent nothing for 1 seconds")


def test_a_slow_client_and_one_that_keeps_its_connection_are_served(
    address: tuple[str, int],
) -> None:
    letters = [bytes([letter]) for letter in HEAD + b"connection: close\r\n\r\n"]
    slow = [b"".join(letters[at : at + 12]) for at in range(0, len(letters), 12)]
    assert b"200 OK" in converse(address, *slow, pause_s=0.4)
    large = b"POST /nowhere HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % 2**18
    several = [large + b"x" * 2**18 + HEAD, b"\r\n", HEAD + b"connection: close\r\n\r\n"]
    said = converse(address, *several)
    assert (said.count(b"404 Not Found"), said.count(b"200 OK")) == (1, 2)
