"""Generates the load of labelers who claim and submit comparisons in an endless cycle.

A cycle is one claim (`POST …/assignments`) and one submission (`POST …/submission`), sent as
separate requests over a persistent connection. To keep the cost of measuring low, requests are
written by hand on bare asyncio, and only what the next request needs is read from a response.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.request import urlopen

ANSWER: dict[str, Any] = {"kind": "pick", "preferred": "a", "strength": 2, "both_bad": False}


class RequestFailed(RuntimeError):
    """The server responded with an error, or had no work left."""


@dataclass(slots=True)
class Timings:
    """The durations of claims and submissions in seconds, and the acknowledged submissions."""

    claims: list[float] = field(default_factory=list)
    submissions: list[float] = field(default_factory=list)
    acknowledged: int = 0  # submissions, including those outside the measured time
    wall_s: float = 0.0
    own_cpu_s: float = 0.0

    @property
    def cycles_per_s(self) -> float:
        """Completed cycles per second."""
        return len(self.submissions) / self.wall_s


class _Connection(asyncio.Protocol):
    """A persistent connection that handles one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._response: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or self._response is None:
            return
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        response, self._response = self._response, None
        self._received.clear()
        if head[9:10] == b"2":
            response.set_result(bytes(body))
        else:
            response.set_exception(RequestFailed(f"{head[9:12].decode()}: {body[:300].decode()}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._response is not None and not self._response.done():
            error = exc or ConnectionResetError("the server closed the connection")
            self._response.set_exception(error)

    async def post(self, head: bytes, body: bytes) -> bytes:
        """Send a request and return the body of the response."""
        assert self._transport is not None
        self._response = asyncio.get_running_loop().create_future()
        self._transport.write(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
        return await self._response

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def request(address: tuple[str, int], path: str) -> None:
    """Request a page; raises OSError if the server does not respond."""
    with urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=2) as response:
        response.read()


def run(
    address: tuple[str, int],
    slug: str,
    tokens: Sequence[str],
    *,
    warm_s: float,
    measured_s: float,
    pace: float | None = None,
) -> Timings:
    """Run one labeler per token, and measure after a warm-up.

    With a `pace`, all together begin that many cycles a second, and a claim's duration is counted
    from when it was due; without one, each labeler works as fast as the server responds.
    """
    return asyncio.run(_run(address, slug, tokens, warm_s, measured_s, pace))


async def _run(
    address: tuple[str, int],
    slug: str,
    tokens: Sequence[str],
    warm_s: float,
    measured_s: float,
    pace: float | None,
) -> Timings:
    timings = Timings()
    begin = time.perf_counter() + warm_s
    end = begin + measured_s
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        for number, token in enumerate(tokens):
            _, connection = await loop.create_connection(_Connection, *address)
            turns = None if pace is None else _turns(number, len(tokens), pace)
            group.create_task(_label(connection, slug, token, (begin, end), timings, turns))
        await asyncio.sleep(begin - time.perf_counter())
        used = time.process_time()
        await asyncio.sleep(end - time.perf_counter())
        timings.own_cpu_s = time.process_time() - used
    timings.wall_s = measured_s
    return timings


def _turns(number: int, labelers: int, pace: float) -> Iterator[float]:
    """Yield the moments at which one of several labelers begins a cycle."""
    first = time.perf_counter() + number / pace
    return (first + turn * labelers / pace for turn in count())


async def _label(
    connection: _Connection,
    slug: str,
    token: str,
    span: tuple[float, float],
    timings: Timings,
    turns: Iterator[float] | None,
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
            claim_sent = time.perf_counter()
            if turns is not None:
                due = next(turns)
                await asyncio.sleep(max(0.0, due - claim_sent))
                claim_sent = due
            response = json.loads(await connection.post(claim, b'{"count":1}'))
            claimed = time.perf_counter()
            if not response["assignments"]:
                raise RequestFailed("the queue became empty before the end of the measurement")
            (assignment,) = response["assignments"]
            body = {
                "key": f"bench-{assignment['lease_token']}",
                "lease_token": assignment["lease_token"],
                "answer": ANSWER,
                "active_ms": 8000,
            }
            submit = f"POST {base}/{assignment['id']}/submission{common}".encode()
            submission_sent = time.perf_counter()
            await connection.post(submit, json.dumps(body).encode())
            done = time.perf_counter()
            timings.acknowledged += 1
            if begin <= claim_sent and done <= end:
                timings.claims.append(claimed - claim_sent)
                timings.submissions.append(done - submission_sent)
    finally:
        connection.close()
