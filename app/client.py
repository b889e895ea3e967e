"""A typed client of the public API, for scripts, the command line and simulated labelers.

It signs in with an API token and sends a request again when the network or the server fails; that
is safe, because judgments carry a key of their own. What a refusal says is kept in `Refused`.
"""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from app.errors import AttuneError

ATTEMPTS = 6
FIRST_WAIT_S = 0.2
TIMEOUT_S = 60.0
_AGAIN = frozenset({502, 503, 504})


class Refused(AttuneError):
    """The server understood the request and refused it."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail} ({status})")
        self.status = status
        self.detail = detail


class Message(BaseModel):
    """A turn of the prompt."""

    role: str
    content: str


class Candidate(BaseModel):
    """A completion with its canonical position."""

    position: int
    text: str


class Criterion(BaseModel):
    """One thing to rate completions on."""

    name: str
    help: str = ""


class Assignment(BaseModel):
    """A leased comparison; candidates in the order in which to show them.

    Criteria come with a rate, reasons (by thumb, then by value) with thumbs. The one candidate of
    an edit is the text to better; a write has none.
    """

    id: int
    comparison_id: int
    lease_token: str
    expires_at: datetime
    kind: str
    instruction: str = ""
    messages: list[Message]
    candidates: list[Candidate]
    strengths: list[int]
    allow_tie: bool
    allow_both_bad: bool
    criteria: list[Criterion] = []
    rating_max: int = 5
    reasons: dict[str, dict[str, str]] = {}
    is_practice: bool = False


class Queue(BaseModel):
    """What is left for the labeler, and why there is nothing if so."""

    open: int
    held: int
    judged: int
    total: int
    with_others: int
    next_free_s: float | None
    today: int
    reasons: list[str]


class Result(BaseModel):
    """What became of a submission or a skip."""

    assignment_id: int
    judgment_id: int | None
    is_surplus: bool
    refused: str | None


class Claimed(BaseModel):
    """Leased assignments; the queue's state when there were fewer than wanted."""

    assignments: list[Assignment]
    queue: Queue | None


class Exchanged(Claimed):
    """Results in the order sent, and the next assignments."""

    results: list[Result]


class Answer(BaseModel):
    """A judgment to submit; what its kind does not ask for stays empty.

    `preferred` and `strength` of a pick, `ranking` of a rank, `ratings` of each canonical position
    by criterion of a rate, `thumb` and `reasons` of thumbs, `text` of a write or an edit.
    """

    kind: str
    preferred: str | None = None
    strength: int | None = None
    ranking: list[int] | None = None
    ratings: dict[str, list[int]] | None = None
    thumb: str | None = None
    reasons: list[str] = []
    text: str | None = None
    both_bad: bool = False


class Submission(BaseModel):
    """An answer to an assignment, with a key that stays the same when it is sent again."""

    assignment_id: int
    lease_token: str
    key: str
    answer: Answer
    flags: list[str] = []
    comment: str = ""
    active_ms: int = 0


class Skip(BaseModel):
    """A comparison left to others."""

    assignment_id: int
    lease_token: str
    key: str
    reason: str
    comment: str = ""


Parsed = TypeVar("Parsed")


class Client:
    """The API of one server, as one user.

    Args:
        url: the server's address, such as `http://127.0.0.1:8000`.
        token: an API token.
        transport: replaces the network (tests only).
    """

    def __init__(
        self, url: str, token: str, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"authorization": f"Bearer {token}", "accept": "application/json"},
            timeout=TIMEOUT_S,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def project(self, slug: str) -> "ProjectClient":
        """Return the API of one project."""
        return ProjectClient(self, slug)

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at a path below `/api/v1`."""
        return self.request("GET", path, params=_given(query)).json()

    def post(self, path: str, body: object = None) -> Any:
        """Post JSON to a path below `/api/v1` and return the answer's."""
        response = self.request("POST", path, json=body)
        return response.json() if response.content else None

    def put(self, path: str, body: object) -> Any:
        """Put JSON to a path below `/api/v1` and return the answer's."""
        return self.request("PUT", path, json=body).json()

    def upload(self, path: str, file: Path, **fields: str) -> Any:
        """Send a file as a form and return the answer's JSON."""
        with file.open("rb") as opened:
            files = {"file": (file.name, opened, "application/octet-stream")}
            response = self.request("POST", path, files=files, data=fields, attempts=1)
        return response.json()

    def import_file(self, project: str, file: Path, *, poll_s: float = 0.5) -> Any:
        """Import a file into the project at a path and return what became of it.

        A large file is imported by a job, whose end is waited for.

        Raises:
            Refused: the server said no, or the job ended without success.
        """
        answer = self.upload(f"{project}/imports", file)
        if "rejects" in answer:
            return answer
        job = answer
        while job["state"] in {"queued", "running"}:
            time.sleep(poll_s)
            job = self.get(f"{project}/jobs/{job['id']}")
        if job["state"] != "succeeded":
            raise Refused(409, f"job {job['id']} {job['state']}: {job['error']}")
        return self.get(f"{project}/imports/{job['result']['import_id']}")

    def download(self, path: str, to: Path) -> int:
        """Write what is at a path to a file; return the number of bytes."""
        with self._http.stream("GET", f"/api/v1{path}") as response, to.open("wb") as file:
            if response.is_error:
                response.read()
                raise _refused(response)
            return sum(file.write(chunk) for chunk in response.iter_bytes())

    def request(
        self, method: str, path: str, *, attempts: int = ATTEMPTS, **options: Any
    ) -> httpx.Response:
        """Send a request, again while the server does not answer.

        Raises:
            Refused: the server said no.
            httpx.TransportError: it did not answer in the end.
        """
        for wait_s in _waits(attempts):
            try:
                response = self._http.request(method, f"/api/v1{path}", **options)
            except httpx.TransportError:
                if wait_s is None:
                    raise
            else:
                if response.is_success:
                    return response
                if response.status_code not in _AGAIN or wait_s is None:
                    raise _refused(response)
            time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")


class ProjectClient:
    """The API of one project, as one user."""

    def __init__(self, client: Client, slug: str) -> None:
        self.client = client
        self.path = f"/projects/{slug}"

    def claim(self, held: Sequence[int] = (), count: int = 1) -> Claimed:
        """Lease the next assignments."""
        body = {"held": list(held), "count": count}
        return _parse(Claimed, self.client.post(f"{self.path}/assignments", body))

    def exchange(
        self,
        submissions: Sequence[Submission] = (),
        skips: Sequence[Skip] = (),
        *,
        held: Sequence[int] = (),
        count: int = 1,
    ) -> Exchanged:
        """Hand in work and lease the next, in one request."""
        body = {
            "submissions": [one.model_dump() for one in submissions],
            "skips": [one.model_dump() for one in skips],
            "held": list(held),
            "count": count,
        }
        return _parse(Exchanged, self.client.post(f"{self.path}/assignments/exchange", body))

    def submit(self, submission: Submission) -> Mapping[str, Any]:
        """Hand in one judgment."""
        path = f"{self.path}/assignments/{submission.assignment_id}/submission"
        answer: Mapping[str, Any] = self.client.post(path, submission.model_dump())
        return answer

    def skip(self, skip: Skip) -> None:
        """Leave one comparison to others."""
        path = f"{self.path}/assignments/{skip.assignment_id}/skip"
        self.client.post(path, skip.model_dump())

    def undo(self, key: str | None = None) -> Assignment | None:
        """Open the last judgment again."""
        opened = self.client.post(f"{self.path}/assignments/undo", {"key": key or new_key()})
        return None if opened is None else _parse(Assignment, opened)

    def history(self, before: int | None = None) -> list[Mapping[str, Any]]:
        """Return one's judgments and skips, newest first; `before` is the last assignment known."""
        items: list[Mapping[str, Any]] = self.client.get(f"{self.path}/judgments", before=before)
        return items

    def revise(
        self,
        judgment_id: int,
        answer: Answer,
        *,
        flags: Sequence[str] = (),
        comment: str = "",
        key: str | None = None,
    ) -> Mapping[str, Any]:
        """Replace one's judgment by a new revision."""
        body = {
            "key": key or new_key(),
            "answer": answer.model_dump(),
            "flags": list(flags),
            "comment": comment,
        }
        revised: Mapping[str, Any] = self.client.put(f"{self.path}/judgments/{judgment_id}", body)
        return revised

    def retract(self, judgment_id: int, key: str | None = None) -> Mapping[str, Any]:
        """Take one's judgment back for good."""
        path = f"{self.path}/judgments/{judgment_id}/retraction"
        retracted: Mapping[str, Any] = self.client.post(path, {"key": key or new_key()})
        return retracted

    def heartbeat(self) -> Mapping[str, str]:
        """Extend the leases."""
        answer: Mapping[str, str] = self.client.post(f"{self.path}/assignments/heartbeat")
        return answer

    def release(self) -> None:
        """Give the leases back."""
        self.client.post(f"{self.path}/assignments/release")

    def queue(self) -> Queue:
        """Return what is left."""
        return _parse(Queue, self.client.get(f"{self.path}/assignments/queue"))

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at a path below the project's."""
        return self.client.get(f"{self.path}{path}", **query)

    def post(self, path: str, body: object = None) -> Any:
        """Post JSON to a path below the project's."""
        return self.client.post(f"{self.path}{path}", body)

    def launch_round(self, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        """Start the next round."""
        launched: Mapping[str, Any] = self.post("/rounds", dict(plan))
        return launched

    def round(self, number: int) -> Mapping[str, Any]:
        """Return a round with its jobs, progress, models and evaluation."""
        found: Mapping[str, Any] = self.get(f"/rounds/{number}")
        return found

    def watch_round(self, number: int, *, every_s: float = 1.0) -> Iterator[Mapping[str, Any]]:
        """Yield the round again and again until it is over."""
        while True:
            found = self.round(number)
            yield found
            if found["state"] in {"promoted", "held", "failed", "cancelled"}:
                return
            time.sleep(every_s)

    def export(self, format: str, **options: Any) -> Mapping[str, Any]:
        """Order an export."""
        ordered: Mapping[str, Any] = self.post("/exports", {"format": format, "options": options})
        return ordered


def new_key() -> str:
    """Return a key for a submission."""
    return secrets.token_urlsafe(18)


def _parse(kind: type[Parsed], data: Any) -> Parsed:
    return TypeAdapter(kind).validate_python(data)


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _refused(response: httpx.Response) -> Refused:
    kind = response.headers.get("content-type", "")
    detail = response.json().get("detail", "") if "json" in kind else response.text[:200]
    return Refused(response.status_code, str(detail))


def _waits(attempts: int) -> Iterator[float | None]:
    """Yield how long to wait after each failed attempt; None after the last."""
    for number in range(attempts - 1):
        yield FIRST_WAIT_S * 2**number
    yield None
