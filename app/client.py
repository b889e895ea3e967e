"""A typed client of the public API, for scripts, the command line and simulated labelers.

Requests are those of `attune.connection`, the client that people install; what is added here is
labeling, with the types of `app.api_types`.
"""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from app.api_types import (
    ApiAssignment,
    ApiClaim,
    ApiComparisonRow,
    ApiExchange,
    ApiJudgment,
    ApiJudgmentRow,
    ApiLeaderboard,
    ApiPreferenceRow,
    ApiPromptEdit,
    ApiQueue,
    ApiSkip,
    ApiSubmission,
    ApiWeights,
)
from app.errors import AttuneError
from attune import errors as refusals
from attune.connection import ATTEMPTS, Connection

PAGE = 1000  # rows of a list

__all__ = ["ATTEMPTS", "Client", "ProjectClient", "RequestRefused", "new_key"]


class RequestRefused(refusals.RequestRefused, AttuneError):
    """The server understood the request and refused it."""


Parsed = TypeVar("Parsed")
Listed = TypeVar("Listed", bound=BaseModel)


class Client(Connection):
    """The API of one server, as one user.

    Unlike in `attune`, every POST is repeated: judgments carry keys, and leases can be asked for
    again.
    """

    AGAIN = frozenset({502, 503, 504})

    def project(self, slug: str) -> "ProjectClient":
        """Return the API of one project."""
        return ProjectClient(self, slug)

    def import_file(self, project: str, file: Path, *, poll_s: float = 0.5) -> Any:
        """Import a file into the project at a path and return the result.

        A large file is imported by a job; this waits until it ends.

        Raises:
            RequestRefused: the server refused the file, or the job did not succeed.
        """
        result = self.upload(f"{project}/imports", file)
        if "rejects" in result:
            return result
        job = result
        while job["state"] in {"queued", "running"}:
            time.sleep(poll_s)
            job = self.get(f"{project}/jobs/{job['id']}")
        if job["state"] != "succeeded":
            raise RequestRefused(409, f"job {job['id']} {job['state']}: {job['error']}")
        return self.get(f"{project}/imports/{job['result']['import_id']}")

    def request(
        self,
        method: str,
        path: str,
        *,
        attempts: int = ATTEMPTS,
        repeat: bool | None = True,
        **options: Any,
    ) -> httpx.Response:
        """Send a request, and repeat it while the server does not respond.

        Raises:
            RequestRefused: the server refused the request.
            httpx.TransportError: the server did not respond to any attempt.
        """
        again = repeat is None or repeat
        return super().request(method, path, attempts=attempts, repeat=again, **options)

    def _refused(self, response: httpx.Response, after_s: float | None) -> Exception:
        problem = refusals.problem(response)
        return RequestRefused(response.status_code, **problem, retry_after_s=after_s)

    def _unreachable(self, error: httpx.TransportError, method: str, path: str) -> Exception:
        return error


class ProjectClient:
    """The API of one project, as one user."""

    def __init__(self, client: Client, slug: str) -> None:
        self.client = client
        self.path = f"/projects/{slug}"

    def claim(self, held: Sequence[int] = (), count: int = 1) -> ApiClaim:
        """Lease the next assignments."""
        body = {"held": list(held), "count": count}
        return _parse(ApiClaim, self.client.post(f"{self.path}/assignments", body))

    def exchange(
        self,
        submissions: Sequence[ApiSubmission] = (),
        skips: Sequence[ApiSkip] = (),
        *,
        held: Sequence[int] = (),
        count: int = 1,
    ) -> ApiExchange:
        """Submit judgments and skips and lease the next assignments, in one request."""
        body = {
            "submissions": [submission.model_dump() for submission in submissions],
            "skips": [skip.model_dump() for skip in skips],
            "held": list(held),
            "count": count,
        }
        return _parse(ApiExchange, self.client.post(f"{self.path}/assignments/exchange", body))

    def submit(self, submission: ApiSubmission) -> Mapping[str, Any]:
        """Submit one judgment."""
        path = f"{self.path}/assignments/{submission.assignment_id}/submission"
        outcome: Mapping[str, Any] = self.client.post(path, submission.model_dump())
        return outcome

    def skip(self, skip: ApiSkip) -> None:
        """Skip one comparison."""
        path = f"{self.path}/assignments/{skip.assignment_id}/skip"
        self.client.post(path, skip.model_dump())

    def undo(self, key: str | None = None) -> ApiAssignment | None:
        """Reopen the last judgment or skip; return None if there is none."""
        opened = self.client.post(f"{self.path}/assignments/undo", {"key": key or new_key()})
        return None if opened is None else _parse(ApiAssignment, opened)

    def history(self, before: int | None = None) -> list[Mapping[str, Any]]:
        """Return your judgments and skips, newest first; `before` is the last assignment seen."""
        items: list[Mapping[str, Any]] = self.client.get(f"{self.path}/judgments", before=before)
        return items

    def revise(
        self,
        judgment_id: int,
        answer: ApiJudgment,
        *,
        flags: Sequence[str] = (),
        comment: str = "",
        key: str | None = None,
    ) -> Mapping[str, Any]:
        """Replace your judgment with a new revision."""
        body = {
            "key": key or new_key(),
            "answer": answer.model_dump(),
            "flags": list(flags),
            "comment": comment,
        }
        revised: Mapping[str, Any] = self.client.put(f"{self.path}/judgments/{judgment_id}", body)
        return revised

    def retract(self, judgment_id: int, key: str | None = None) -> Mapping[str, Any]:
        """Retract your judgment permanently."""
        path = f"{self.path}/judgments/{judgment_id}/retraction"
        retracted: Mapping[str, Any] = self.client.post(path, {"key": key or new_key()})
        return retracted

    def heartbeat(self) -> Mapping[str, str]:
        """Extend the leases."""
        expiries: Mapping[str, str] = self.client.post(f"{self.path}/assignments/heartbeat")
        return expiries

    def release(self) -> None:
        """Return the leases to the queue."""
        self.client.post(f"{self.path}/assignments/release")

    def queue(self) -> ApiQueue:
        """Return the labeler's queue."""
        return _parse(ApiQueue, self.client.get(f"{self.path}/assignments/queue"))

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at a path below the project's."""
        return self.client.get(f"{self.path}{path}", **query)

    def post(self, path: str, body: object = None) -> Any:
        """Post JSON to a path below the project's."""
        return self.client.post(f"{self.path}{path}", body)

    def weights_in_use(self) -> ApiWeights:
        """Return the labeler weights that rounds take when launched."""
        return _parse(ApiWeights, self.get("/agreement/weights/in-use"))

    def use_weights(self, weights: Mapping[str, float] | None = None) -> ApiWeights:
        """Use labeler weights in the rounds launched from now on; by default those proposed."""
        if weights is None:
            weights = self.get("/agreement/weights")["weights"]
        body = {"weights": weights}
        return _parse(ApiWeights, self.client.put(f"{self.path}/agreement/weights/in-use", body))

    def take_back_weights(self) -> ApiWeights:
        """Restore the labeler weights before those in use, or none."""
        since = self.weights_in_use().since
        query = {} if since is None else {"since": since.isoformat()}
        path = f"{self.path}/agreement/weights/in-use"
        return _parse(ApiWeights, self.client.request("DELETE", path, params=query).json())

    def leaderboard(self, **filters: Any) -> ApiLeaderboard:
        """Return the sources of responses ranked by votes; the filters are those of the API."""
        return _parse(ApiLeaderboard, self.get("/leaderboard", **filters))

    def comparisons(self, **filters: Any) -> Iterator[ApiComparisonRow]:
        """Yield comparisons, oldest first; the filters are those of the API."""
        return self._rows("/comparisons", "comparisons", ApiComparisonRow, filters)

    def judgments(self, **filters: Any) -> Iterator[ApiJudgmentRow]:
        """Yield everybody's judgments, oldest first; the filters are those of the API."""
        return self._rows("/judgments/all", "judgments", ApiJudgmentRow, filters)

    def preferences(self, **filters: Any) -> Iterator[ApiPreferenceRow]:
        """Yield the pairs that each judgment implies; the filters are those of the API."""
        return self._rows("/preferences", "preferences", ApiPreferenceRow, filters)

    def edit_prompts(
        self,
        action: str,
        value: str,
        *,
        ids: Sequence[int] | None = None,
        everything: bool = False,
        **filters: Any,
    ) -> ApiPromptEdit:
        """Tag, untag or categorize the prompts that match, or those with the ids."""
        body = {
            "action": action,
            "value": value,
            "filter": filters,
            "ids": None if ids is None else list(ids),
            "all": everything,
        }
        return _parse(ApiPromptEdit, self.post("/prompts/edits", body))

    def undo_prompt_edit(self, edit_id: int) -> Mapping[str, int]:
        """Undo a bulk edit of prompts; return how many were restored and how many left."""
        undone: Mapping[str, int] = self.post(f"/prompts/edits/{edit_id}/undo")
        return undone

    def _rows(
        self, path: str, name: str, kind: type[Listed], filters: Mapping[str, Any]
    ) -> Iterator[Listed]:
        rows = self.client.pages(self.path + path, name, **{"limit": PAGE, **filters})
        yield from (kind.model_validate(row) for row in rows)

    def launch_round(self, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        """Start the next round."""
        launched: Mapping[str, Any] = self.post("/rounds", dict(plan))
        return launched

    def round(self, number: int) -> Mapping[str, Any]:
        """Return a round with its jobs, progress, models and evaluation."""
        round_: Mapping[str, Any] = self.get(f"/rounds/{number}")
        return round_

    def watch_round(self, number: int, *, every_s: float = 1.0) -> Iterator[Mapping[str, Any]]:
        """Yield the round repeatedly until it is over.

        A round in the state "gated" waits for a decision at one of its `gates`.
        """
        while True:
            round_ = self.round(number)
            yield round_
            if round_["state"] in {"promoted", "held", "failed", "cancelled"}:
                return
            time.sleep(every_s)

    def export(self, format: str, **options: Any) -> Mapping[str, Any]:
        """Start an export."""
        export: Mapping[str, Any] = self.post("/exports", {"format": format, "options": options})
        return export


def new_key() -> str:
    """Return a key for a submission."""
    return secrets.token_urlsafe(18)


def _parse(kind: type[Parsed], data: Any) -> Parsed:
    return TypeAdapter(kind).validate_python(data)
