"""Requests: what is repeated and when, what an error carries, and interrupted downloads."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import attune
from attune import files
from attune.connection import ATTEMPTS, Connection

URL = "http://attune.test"
TOKEN = "att_secret"
Handler = Callable[[httpx.Request], httpx.Response]
SHA = hashlib.sha256


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("attune.connection.time.sleep", waited.append)
    return waited


def answering(*answers: httpx.Response | Exception) -> tuple[Connection, list[httpx.Request]]:
    """Return a connection that gets these answers in turn, and the requests it sends."""
    left, sent = list(answers), []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Connection(URL, TOKEN, transport=httpx.MockTransport(handle)), sent


def test_a_get_is_repeated_as_the_server_asks(slept: list[float]) -> None:
    connection, sent = answering(
        httpx.ConnectError("refused"),
        httpx.Response(503, headers={"retry-after": "3"}),
        httpx.Response(429, headers={"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        httpx.Response(200, json=[]),
    )
    assert connection.get("/projects") == []
    assert len(sent) == 4
    assert slept == [0.2, 3.0, 0.8]
    assert sent[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("body", "attempts"), [({"choice": "quick"}, 1), ({"key": ""}, 1), ({"key": "k1"}, ATTEMPTS)]
)
@pytest.mark.parametrize("status", [0, 429, 503])
def test_a_post_is_repeated_only_with_a_key(
    slept: list[float], body: dict[str, str], attempts: int, status: int
) -> None:
    answer: Any = httpx.Response(status) if status else httpx.ReadTimeout("late")
    connection, sent = answering(*[answer] * ATTEMPTS)
    with pytest.raises((attune.RequestRefused, attune.NotConnected)) as failed:
        connection.post("/projects/desk/rounds", body)
    assert (len(sent), len(slept)) == (attempts, attempts - 1)
    if not status:
        assert "may have done what was asked" in str(failed.value)


def test_a_wait_of_more_than_a_minute_is_left_to_the_caller(slept: list[float]) -> None:
    connection, sent = answering(httpx.Response(429, headers={"retry-after": "3600"}))
    with pytest.raises(attune.TooManyRequests) as refused:
        connection.get("/projects")
    assert (refused.value.retry_after_s, len(sent), slept) == (3600, 1, [])


def test_an_error_carries_the_problem_and_never_the_token() -> None:
    problem = {
        "title": "Conflict",
        "status": 409,
        "detail": "round 3 is running",
        "request_id": "r1",
        "field": None,
    }
    connection, _ = answering(
        httpx.Response(409, json=problem, headers={"content-type": "application/problem+json"}),
        httpx.Response(418, text="<html>" + "x" * 500),
        httpx.Response(302, headers={"location": "https://elsewhere.test"}),
        httpx.Response(500, text="{", headers={"content-type": "application/json"}),
    )
    with pytest.raises(attune.Conflict) as refused:
        connection.get("/projects")
    error = refused.value
    assert str(error) == "round 3 is running (409)"
    assert (error.title, error.field, error.request_id) == ("Conflict", None, "r1")
    for status, length in ((418, 200), (302, 0), (500, 1)):
        with pytest.raises(attune.RequestRefused) as other:
            connection.get("/projects")
        assert (other.value.status, len(other.value.detail)) == (status, length)
    assert TOKEN not in f"{connection!r}{vars(connection)!r}{error!r}"


class Broken(httpx.SyncByteStream):
    """A body that ends before it is complete."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"0123"
        raise httpx.ReadError("reset")


@pytest.mark.parametrize("tag", ["e1", None])
def test_an_interrupted_download_goes_on_or_begins_again(
    tmp_path: Path, slept: list[float], tag: str | None
) -> None:
    headers = {"etag": tag} if tag else {}
    rest = httpx.Response(206, content=b"456789") if tag else httpx.Response(200, content=b"9" * 9)
    connection, sent = answering(httpx.Response(200, headers=headers, stream=Broken()), rest)
    seen: list[int] = []
    size = connection.download("/file", tmp_path / "file", on_bytes=seen.append)
    assert (tmp_path / "file").read_bytes() == (b"0123456789" if tag else b"9" * 9)
    assert size == seen[-1] == (tmp_path / "file").stat().st_size
    assert sent[1].headers.get("range") == ("bytes=4-" if tag else None)


def test_a_download_with_another_hash_is_not_kept(cache: Path) -> None:
    wanted = SHA(b"right").hexdigest()
    connection, _ = answering(httpx.Response(200, content=b"wrong"))
    with pytest.raises(attune.DownloadDamaged, match=SHA(b"wrong").hexdigest()):
        _fetch(connection, wanted)
    assert list(cache.iterdir()) == []
    with pytest.raises(ValueError, match="no safe name"):
        _fetch(connection, "../../elsewhere")


def _fetch(connection: Connection, sha256: str) -> Path:
    return files.fetch(
        connection, "/file", sha256=sha256, container="jsonl", on_bytes=lambda _: None
    )


def model_tar(content: dict[str, bytes], listed: dict[str, bytes]) -> tuple[bytes, str]:
    """Return the tar of a model whose manifest lists other files, and the manifest's hash."""
    facts = {name: {"sha256": SHA(data).hexdigest()} for name, data in listed.items()}
    manifest = json.dumps({"files": facts}).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in {**content, "manifest.json": manifest}.items():
            member = tarfile.TarInfo(f"desk-policy/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue(), SHA(manifest).hexdigest()


GOOD = {"config.json": b"{}", "deep/weights.safetensors": b"w"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (GOOD, None),
        ({**GOOD, "config.json": b"[]"}, "config.json must have"),
        ({"config.json": b"{}"}, "deep/weights.safetensors is only in its manifest"),
        ({**GOOD, "extra.py": b""}, "extra.py is not in its manifest"),
    ],
)
def test_a_model_is_verified_file_by_file(
    tmp_path: Path, content: dict[str, bytes], fault: str | None
) -> None:
    packed, sha256 = model_tar(content, GOOD)
    model = dict(
        dict.fromkeys(attune.Checkpoint.__dataclass_fields__, ""), id=7, name="P", sha256=sha256
    )
    handle = {"7": httpx.Response(200, json=model), "download": httpx.Response(200, content=packed)}
    transport = httpx.MockTransport(lambda request: handle[request.url.path.rpartition("/")[2]])
    models = attune.connect(URL, TOKEN, transport=transport).project("desk").models
    to = tmp_path / "models" / "policy"
    if fault is None:
        assert models.download(7, to) == to
        assert (to / "deep" / "weights.safetensors").read_bytes() == b"w"
        with pytest.raises(FileExistsError, match="name a folder that does not"):
            models.download(7, to)
    else:
        with pytest.raises(attune.DownloadDamaged, match=fault):
            models.download(7, to)
    assert sorted(path.name for path in to.parent.iterdir()) == ([] if fault else ["policy"])
