"""Labelers who work over HTTP while things break, and what the server acknowledged to them."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from app.api_types import ApiAssignment, ApiJudgment, ApiSubmission
from app.bench import seed as bench_seed
from app.bench.seed import OVERLAP, SLUG
from app.client import ATTEMPTS, Client, RequestRefused
from app.db import Database
from app.models import Judgment, Membership, User
from app.services.people import accounts

LEAD = "lead@example.org"


@dataclass(frozen=True, slots=True)
class Desk:
    """A project with open comparisons, and API tokens of its lead and labelers."""

    project_id: int
    lead_token: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A judgment that the server said it has."""

    labeler: int  # from 0
    key: str
    preferred: str
    strength: int
    is_surplus: bool


def furnish(url: str, judgments: int, labelers: int) -> Desk:
    """Make a project in which at least so many judgments can be given."""
    database = Database(url)
    # Comparisons to spare: near the end of a queue, labelers wait for each other.
    seeded = bench_seed.seed(database, judgments // OVERLAP + 50 * labelers, labelers)
    with database.transaction() as session:
        lead = accounts.user_by_email(session, LEAD)
        assert lead is not None
        scopes = ["label", "read", "write"]
        token = accounts.create_token(session, lead, name="proof", scopes=scopes).secret
    database.dispose()
    return Desk(seeded.project_id, token, seeded.tokens)


@dataclass
class Labelers:
    """One thread a labeler, each with the client that scripts use and its retries, if wanted."""

    address: str
    tokens: Sequence[str]
    seed: int
    attempts: int = ATTEMPTS
    acknowledged: list[Acknowledged] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let all of them label in the meantime."""
        threads = [
            threading.Thread(target=self._label, args=(number, token), daemon=True)
            for number, token in enumerate(self.tokens)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def until(self, count: int, act: Callable[[int], bool], pause_s: float = 0.02) -> None:
        """Call `act` with the number acknowledged until there are enough and it returns true."""
        while not (act(len(self.acknowledged)) and len(self.acknowledged) >= count):
            self._over.wait(pause_s)

    def _label(self, number: int, token: str) -> None:
        draw = random.Random(f"{self.seed} {number}")
        with Client(self.address, token) as client:
            while not self._over.is_set():
                try:
                    for data in self._post(client, "", {"count": 1})["assignments"]:
                        assignment = ApiAssignment.model_validate(data)
                        given = answer(assignment, draw)
                        path = f"/{assignment.id}/submission"
                        outcome = self._post(client, path, given.model_dump())
                        self.acknowledged.append(_noted(number, given, outcome))
                except httpx.TransportError as error:  # gone for longer than a client waits
                    self.troubles[f"{type(error).__name__} after {self.attempts} attempts"] += 1
                except RequestRefused as error:
                    self.troubles[str(error)] += 1

    def _post(self, client: Client, path: str, body: object) -> Any:
        address = f"/projects/{SLUG}/assignments{path}"
        return client.request("POST", address, json=body, attempts=self.attempts).json()


def answer(assignment: ApiAssignment, draw: random.Random) -> ApiSubmission:
    """Answer a comparison at random."""
    return ApiSubmission(
        assignment_id=assignment.id,
        lease_token=assignment.lease_token,
        key=f"proof-{draw.getrandbits(80):020x}",
        answer=ApiJudgment(
            kind="pick", preferred=draw.choice("ab"), strength=draw.choice(assignment.strengths)
        ),
        active_ms=4000,
    )


def _noted(number: int, given: ApiSubmission, outcome: Mapping[str, object]) -> Acknowledged:
    preferred, strength = given.answer.preferred, given.answer.strength
    assert preferred is not None
    assert strength is not None
    return Acknowledged(number, given.key, preferred, strength, bool(outcome["is_surplus"]))


@dataclass(frozen=True, slots=True)
class Missing:
    """Acknowledged judgments that are not stored as they were given, and not in an export."""

    rows: int
    votes: int


def missing(url: str, export: Path, acknowledged: Sequence[Acknowledged]) -> Missing:
    """Look for acknowledged judgments in the rows, and in an export in the rich format.

    A judgment beyond the number wanted is stored, but not exported.
    """
    comparisons, labelers = stored(url), _labelers_by_pseudonym(url)
    rows = sum(
        (one.labeler, one.key, one.preferred, one.strength) not in comparisons
        for one in acknowledged
    )
    wanted = Counter(
        (comparisons.get((one.labeler, one.key, one.preferred, one.strength), ""), *_vote(one))
        for one in acknowledged
        if not one.is_surplus
    )
    return Missing(rows, (wanted - _exported(export, labelers)).total())


def _vote(one: Acknowledged) -> tuple[int, str, int]:
    return one.labeler, one.preferred, one.strength


def stored(url: str) -> dict[tuple[int, str, str, int], str]:
    """Return the comparison of every judgment in force, by labeler, key and what it says."""
    database = Database(url)
    query = (
        select(User.email, Judgment)
        .join(User, User.id == Judgment.labeler_id)
        .where(Judgment.is_current)
    )
    with database.reader() as session:
        found = {
            (_number(email), row.submission_key, row.preferred or "", row.strength or 0): str(
                row.comparison_id
            )
            for email, row in session.execute(query)
        }
    database.dispose()
    return found


def _exported(export: Path, labelers: Mapping[str, int]) -> Counter[tuple[str, int, str, int]]:
    with export.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return Counter(
        (
            row["comparison"],
            labelers[vote["labeler"]],
            "a" if vote["ranking"] == [1, 2] else "b",
            vote["strength"],
        )
        for row in rows
        for vote in row["individual_preference"]
    )


def _labelers_by_pseudonym(url: str) -> dict[str, int]:
    database = Database(url)
    query = select(Membership.pseudonym, User.email).join(User, User.id == Membership.user_id)
    with database.reader() as session:
        found = {
            str(pseudonym): _number(email)
            for pseudonym, email in session.execute(query)
            if email != LEAD
        }
    database.dispose()
    return found


def _number(email: str) -> int:
    """Return the number of a labeler, from 0, that is in their address."""
    return int(email.removeprefix("l").partition("@")[0])
