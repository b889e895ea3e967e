"""Labelers as a load: each claims a comparison, judges it at once, hands it in, and goes on.

A cycle is one claim (`POST …/assignments`) and one submission (`POST …/submission`), each a request
of its own on a connection that is kept. What measures must not be what is measured: requests are
written out by hand on bare asyncio, and of the answers only what the next request needs is read.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.request import urlopen

ANSWER: dict[str, Any] = {"kind": "pick", "preferred": "a", "strength": 2, "both_bad": False}


class RequestFailed(RuntimeError):
    """The server answered with something else than success."""


@dataclass(slots=True)
class Timings:
    """Seconds that each claim and each submission took, and what the server acknowledged."""

    claims: list[float] = field(default_factory=list)
    submissions: list[float] = field(default_factory=list)
    acknowledged: int = 0  # submissions, those before and after the measurement too
    wall_s: float = 0.0
    own_cpu_s: float = 0.0

    @property
    def cycles_per_s(self) -> float:
        """Claims with their submission, a second."""
        return len(self.submissions) / self.wall_s


class _Connection(asyncio.Protocol):
    """One kept connection: one request at a time, its answer's body back."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._answer is None:
            return
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        answer, self._answer = self._answer, None
        self._received.clear()
        if head[9:10] == b"2":
            answer.set_result(bytes(body))
        else:
            answer.set_exception(RequestFailed(f"{head[9:12].decode()}: {body[:300].decode()}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server hung up"))

    async def post(self, head: bytes, body: bytes) -> bytes:
        """Send a request and return the body of its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


def ask(address: tuple[str, int], path: str) -> None:
    """Ask for a page; raise OSError while nobody answers."""
    with urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=2) as answer:
        answer.read()


def run(
    address: tuple[str, int], slug: str, tokens: Sequence[str], *, warm_s: float, measured_s: float
) -> Timings:
    """Let one labeler for each token work, and measure after a while."""
    return asyncio.run(_run(address, slug, tokens, warm_s, measured_s))


async def _run(
    address: tuple[str, int], slug: str, tokens: Sequence[str], warm_s: float, measured_s: float
) -> Timings:
    timings = Timings()
    begin = time.perf_counter() + warm_s
    end = begin + measured_s
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        for token in tokens:
            _, connection = await loop.create_connection(_Connection, *address)
            group.create_task(_label(connection, slug, token, (begin, end), timings))
        await asyncio.sleep(begin - time.perf_counter())
        used = time.process_time()
        await asyncio.sleep(end - time.perf_counter())
        timings.own_cpu_s = time.process_time() - used
    timings.wall_s = measured_s
    return timings


async def _label(
    connection: _Connection, slug: str, token: str, span: tuple[float, float], timings: Timings
) -> None:
    base = f"/api/v1/projects/{slug}/assignments"
    common = (
        f" HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
        "content-type: application/json\r\n"
    )
    claim = f"POST {base}{common}".encode()
    begin, end = span
    try:
        while time.perf_counter() < end:
            asked = time.perf_counter()
            given = json.loads(await connection.post(claim, b'{"count":1}'))["assignments"]
            claimed = time.perf_counter()
            if not given:
                raise RequestFailed("the queue ran empty before the time was over")
            (one,) = given
            body = {
                "key": f"bench-{one['lease_token']}",
                "lease_token": one["lease_token"],
                "answer": ANSWER,
                "active_ms": 8000,
            }
            submit = f"POST {base}/{one['id']}/submission{common}".encode()
            sent = time.perf_counter()
            await connection.post(submit, json.dumps(body).encode())
            done = time.perf_counter()
            timings.acknowledged += 1
            if begin <= asked and done <= end:
                timings.claims.append(claimed - asked)
                timings.submissions.append(done - sent)
    finally:
        connection.close()
