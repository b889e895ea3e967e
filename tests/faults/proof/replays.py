"""Judgments that are applied twice when every request is repeated.

Every request of a labeler is sent four times: once on a connection that is cut before the response,
twice at the same moment from two tabs, and once more. The submission before it is sent again, too.
All responses to a request must be the same, and each judgment must be there once. Two tabs that ask
for work at the same moment get the same comparison.
"""

import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from app.bench.seed import OVERLAP, SLUG
from app.cli import bench_setup
from app.client import Client, RequestRefused
from app.db import Database
from app.models import Judgment
from tests.faults.proof import labeling_load
from tests.faults.proof.rows import Outcome, Place, beyond_none

LABELERS = 4
SENDS = 4
PATH = f"/projects/{SLUG}"
STEPS = ("submit", "submit", "submit", "revise", "submit", "undo", "submit", "retract", "skip")


@dataclass(slots=True)
class Tally:
    """What was sent, what differed between responses, and the keys that made a judgment."""

    requests: int = 0
    different: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)


class Labeler:
    """A labeler with two tabs and a bad connection."""

    def __init__(self, address: tuple[str, int], token: str, seed: int, tally: Tally) -> None:
        url = f"http://{address[0]}:{address[1]}"
        self._address, self._token, self._tally = address, token, tally
        self._tabs = [Client(url, token) for _ in range(2)]
        self._draw = random.Random(seed)
        self._last: tuple[str, str, Mapping[str, Any]] | None = None

    def work(self, steps: int) -> None:
        """Go through the steps that a labeler can take, in an order drawn from the seed."""
        done: list[int] = []  # judgments in force, the newest last
        try:
            for _ in range(steps):
                step = self._draw.choice(STEPS)
                if step in {"submit", "skip"} or not done:
                    self._answer(done, skips=step == "skip")
                elif step == "undo":
                    if self._keyed("POST", "/assignments/undo", {}) is not None:
                        done.pop()  # whose comparison the next claim shows again
                elif step == "revise":
                    body = {"answer": self._judgment()}
                    revised = self._keyed("PUT", f"/judgments/{done.pop()}", body)
                    done.append(revised["judgment_id"])
                else:
                    self._keyed("POST", f"/judgments/{done.pop(0)}/retraction", {})
        finally:
            for tab in self._tabs:
                tab.close()

    def _answer(self, done: list[int], *, skips: bool) -> None:
        (assignment,) = self._send("POST", "/assignments", {"count": 1})["assignments"]
        path, lease = f"/assignments/{assignment['id']}", assignment["lease_token"]
        if skips:
            body = {"key": self._key(), "lease_token": lease, "reason": "other", "comment": "?"}
            self._send("POST", f"{path}/skip", body)
            done.clear()  # an undo would take the skip back
            return
        body = {"lease_token": lease, "answer": self._judgment(), "active_ms": 4000}
        done.append(self._keyed("POST", f"{path}/submission", body)["judgment_id"])

    def _judgment(self) -> dict[str, Any]:
        return {"kind": "pick", "preferred": self._draw.choice("ab"), "strength": 2}

    def _key(self) -> str:
        return f"proof-{self._draw.getrandbits(80):020x}"

    def _keyed(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """Send what makes one judgment: a first one, a revision, or a retraction."""
        key = self._key()
        found = self._send(method, path, body | {"key": key})
        self._tally.keys.append(key)
        return found

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request as often as it takes; return the response."""
        self._lose(method, path, body)
        with ThreadPoolExecutor(2) as pool:
            at_once = threading.Barrier(2)
            responses = list(
                pool.map(lambda tab: self._ask(tab, method, path, body, at_once), self._tabs)
            )
        responses.append(self._ask(self._tabs[0], method, path, body))
        self._tally.requests += SENDS
        if len({_lasting(response) for response in responses}) > 1:
            self._tally.different.append(f"{method} {path}: {responses}")
        if self._last is not None and path != "/assignments":
            self._ask(self._tabs[1], *self._last)
            self._tally.requests += 1
        if path.endswith("/submission"):
            self._last = (method, path, body)
        return responses[0]

    def _lose(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        head = (
            f"{method} /api/v1{PATH}{path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"authorization: Bearer {self._token}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        )
        with socket.create_connection(self._address) as connection:
            connection.sendall(head.encode() + data)

    def _ask(
        self,
        tab: Client,
        method: str,
        path: str,
        body: Mapping[str, Any],
        at_once: threading.Barrier | None = None,
    ) -> Any:
        if at_once is not None:
            at_once.wait()
        try:
            response = tab.request(method, PATH + path, json=body)
        except RequestRefused as error:
            self._tally.refused[str(error)] += 1
            return {"refused": error.detail}
        return response.json() if response.content else None


def measure(place: Place) -> Outcome:
    """Send every request of some labelers repeatedly; look for what was applied twice."""
    steps = place.scale.count(20, 2_500)
    tallies = [Tally() for _ in range(LABELERS)]
    with place.postgres.database() as url:
        desk = labeling_load.furnish(url, steps * LABELERS * OVERLAP, LABELERS)
        with (
            bench_setup.server(url, 2) as server,
            ThreadPoolExecutor(LABELERS) as pool,
        ):
            working = [
                pool.submit(
                    Labeler(server.address, token, place.scale.seed + number, tally).work, steps
                )
                for number, (token, tally) in enumerate(zip(desk.tokens, tallies, strict=True))
            ]
            for labeler in working:
                labeler.result()
        keys = [key for tally in tallies for key in tally.keys]
        twice, unknown = _applied(url, keys)
    different = [text for tally in tallies for text in tally.different]
    wrong = twice + len(different)
    return Outcome(
        f"{twice} of {len(keys):,} judgments applied twice, {len(different)} requests answered "
        "differently when repeated",
        f"{sum(tally.requests for tally in tallies):,} requests, each sent {SENDS} times: a lost "
        "response, two tabs at once, and again",
        beyond_none(wrong, "judgment or response", "judgments or responses"),
        {
            "judgments": len(keys),
            "twice": twice,
            "rows_without_acknowledgement": unknown,
            "different": len(different),
            "first_difference": different[0] if different else "",
        },
    )


def _applied(url: str, keys: list[str]) -> tuple[int, int]:
    """Return how many rows there are beyond one a key, and how many nobody was told of."""
    database = Database(url)
    with database.reader() as session:
        rows = session.scalars(select(Judgment)).all()
    database.dispose()
    known = set(keys)
    twice = sum(count - 1 for count in Counter(row.submission_key for row in rows).values())
    in_force = [row for row in rows if row.is_current and not row.is_retraction]
    by_labeler = Counter((row.comparison_id, row.labeler_id) for row in in_force)
    by_comparison = Counter(row.comparison_id for row in in_force if not row.is_surplus)
    twice += sum(count - 1 for count in by_labeler.values())
    twice += sum(max(0, count - OVERLAP) for count in by_comparison.values())
    unknown = [row for row in rows if row.submission_key not in known]
    return twice + len(unknown), len(unknown)


def _lasting(response: Any) -> str:
    """Return what must not change from one response to another: leases are renewed."""
    if isinstance(response, dict) and "assignments" in response:
        return json.dumps([(one["id"], one["lease_token"]) for one in response["assignments"]])
    if isinstance(response, dict):
        response = {name: value for name, value in response.items() if name != "expires_at"}
    return json.dumps(response, sort_keys=True)
