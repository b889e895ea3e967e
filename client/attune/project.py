"""One project: its data in and out, and what the server says of them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from attune import files, uploads
from attune.connection import PAGE, Connection
from attune.errors import JobFailed, WaitedTooLong
from attune.models import Models
from attune.progress import Meter, meter
from attune.rounds import Rounds
from attune.rows import Rows
from attune.types import Export, ImportResult, ProjectInfo, Verdict

FORMATS: Final[Mapping[str, str]] = {"pairs": "trl-explicit", "pairs-text": "trl-explicit-text"}
"""Short names of export formats; all others are the server's, which `formats()` lists."""
WAIT_S: Final = 600.0
_FIRST_LOOK_S: Final = 0.1
_LONGEST_LOOK_S: Final = 2.0
_PAGES_WITH_VERDICT: Final[Mapping[str, str]] = {
    "project": "/verdict",
    "agreement": "/agreement/verdict",
    "labelers": "/labelers/verdict",
    "round": "/rounds/{id}/verdict",
    "evaluation": "/evaluations/{id}/verdict",
    "model": "/checkpoints/{id}/verdict",
}


class Project:
    """One project of a server; nothing is requested before a method is called."""

    def __init__(self, connection: Connection, slug: str) -> None:
        if not slug:
            raise ValueError(
                "a project has a name in its address, such as help-desk; this is empty"
            )
        self.slug = slug
        self._connection = connection
        self._path = f"/projects/{quote(slug, safe='')}"

    def __repr__(self) -> str:
        return f"<Project {self.slug} at {self._connection.url}>"

    @cached_property
    def rounds(self) -> Rounds:
        """The rounds."""
        return Rounds(self._connection, self._path)

    @cached_property
    def models(self) -> Models:
        """The models."""
        return Models(self._connection, self._path)

    def info(self) -> ProjectInfo:
        """Return the project with its most important settings."""
        return ProjectInfo.from_json(self._connection.get(self._path))

    def formats(self) -> dict[str, str]:
        """Return the export formats with their descriptions."""
        formats: dict[str, str] = self._connection.get(f"{self._path}/exports/formats")
        return formats

    def preferences(
        self,
        format: str = "pairs",
        split: str | Sequence[str] = "train",
        *,
        timeout_s: float = WAIT_S,
        progress: bool | None = None,
        **options: Any,
    ) -> Rows:
        """Export what people judged, and return the rows.

        Args:
            format: `pairs` (prompt, chosen and rejected as messages), `pairs-text` (as text), or
                one of `formats()`.
            split: of the prompts: train, validation or test, or several of these.
            timeout_s: seconds to wait for the export at most.
            progress: whether to show a line of progress; by default to people only.
            options: those of an export, such as `aggregate="each_vote"` or `min_agreement=0.7`.

        Raises:
            Invalid: the format or an option is not possible.
            JobFailed: the export failed, for example because it would be empty.
            WaitedTooLong: it is not ready in time; the error names its number.
            DownloadDamaged: what came has a different hash.
        """
        export = self.request_export(FORMATS.get(format, format), split, **options)
        return self.rows_of_export(export.number, timeout_s=timeout_s, progress=progress)

    def demonstrations(self, format: str = "demonstrations", **options: Any) -> Rows:
        """Export demonstrations and return the rows; the arguments are those of `preferences`."""
        return self.preferences(format, **options)

    def request_export(
        self, format: str, split: str | Sequence[str] = "train", **options: Any
    ) -> Export:
        """Ask for an export, which a worker then writes; it is asked for once."""
        splits = [split] if isinstance(split, str) else list(split)
        body = {"format": format, "options": {"splits": splits, "container": "jsonl", **options}}
        return Export.from_json(self._connection.post(f"{self._path}/exports", body))

    def exports(self) -> list[Export]:
        """Return the exports, newest first."""
        return [Export.from_json(each) for each in self._connection.get(f"{self._path}/exports")]

    def export(self, number: int) -> Export:
        """Return an export."""
        return Export.from_json(self._connection.get(f"{self._path}/exports/{number}"))

    def rows_of_export(
        self, number: int, *, timeout_s: float = WAIT_S, progress: bool | None = None
    ) -> Rows:
        """Return the rows of an export; wait until it is ready, and download it once.

        An export never changes, so a number gives the same rows every time.

        Raises:
            ValueError: its file is not JSON Lines.
            JobFailed, WaitedTooLong, DownloadDamaged: as of `preferences`.
        """
        with meter(progress) as shown:
            export = self._wait_for(number, timeout_s, shown)
            if export.container != "jsonl":
                raise ValueError(
                    f"export {number} must be jsonl to be read, not {export.container}"
                )
            path = files.fetch(
                self._connection,
                f"{self._path}/exports/{number}/download",
                sha256=export.sha256,
                container=export.container,
                on_bytes=lambda size: shown.show(f"Export {number}: download", size, export.bytes),
            )
        return Rows(path, export)

    def import_file(
        self,
        path: str | Path,
        *,
        format: str | None = None,
        map: Mapping[str, str] | None = None,
        evaluation: bool = False,
        timeout_s: float = WAIT_S,
        progress: bool | None = None,
    ) -> ImportResult:
        """Import prompts, completions, preferences or demonstrations from a file.

        A file that was imported before adds nothing. It is sent once.

        Args:
            path: of JSON Lines, CSV, TSV, Parquet, gzip or zip.
            format: detected by default.
            map: names of fields to names of columns, such as `{"prompt": "question"}`.
            evaluation: declare the prompts an evaluation set, which is never trained on.
            timeout_s: seconds to wait at most where a job imports the file.
            progress: whether to show a line of progress; by default to people only.

        Raises:
            Invalid: the file cannot be read.
            JobFailed: the job that imports it failed.
            WaitedTooLong: it is not over in time.
        """
        query = {
            "format": format,
            "map": [f"{field}={column}" for field, column in (map or {}).items()] or None,
            "evaluation": "true" if evaluation else None,
        }
        with meter(progress) as shown:
            shown.show(f"Import of {Path(path).name}")
            result = self._connection.upload(f"{self._path}/imports", Path(path), query)
            if "rejects" not in result:
                result = self._imported(result, timeout_s, shown)
        return ImportResult.from_json(result)

    def import_rows(self, rows: Any, *, name: str = "rows.jsonl", **options: Any) -> ImportResult:
        """Import rows: a DataFrame, a Dataset, or dicts; otherwise as `import_file`.

        Args:
            rows: with the fields of one of the import formats.
            name: the source of the rows, which the project remembers.
            options: those of `import_file`.

        Raises:
            TypeError: a row is no mapping, or has a value that JSON has not; the row is named.
            ValueError: there are no rows.
        """
        with uploads.as_file(rows, name) as path:
            return self.import_file(path, **options)

    def agreement(self, **filters: Any) -> dict[str, Any]:
        """Return the agreement report; the filters are those of the API."""
        report: dict[str, Any] = self._connection.get(f"{self._path}/agreement", **filters)
        return report

    def leaderboard(self, **filters: Any) -> dict[str, Any]:
        """Return the sources of responses ranked by votes; the filters are those of the API."""
        board: dict[str, Any] = self._connection.get(f"{self._path}/leaderboard", **filters)
        return board

    def verdict(self, page: str = "project", id: int | None = None) -> Verdict:
        """Return the finding that a page opens with.

        Args:
            page: project, agreement or labelers; or with an id: round, evaluation or model.
            id: the number of the round, or the id of the evaluation or model.

        Raises:
            ValueError: there is no such page, or the id is missing or one too many.
        """
        if page not in _PAGES_WITH_VERDICT:
            known = ", ".join(_PAGES_WITH_VERDICT)
            raise ValueError(f"a verdict is of one of {known}; not of {page!r}")
        path = _PAGES_WITH_VERDICT[page]
        if ("{id}" in path) != (id is not None):
            rule = "takes no id" if id is not None else "needs its id"
            raise ValueError(f"the verdict of the page {page!r} {rule}")
        return Verdict.from_json(self._connection.get(self._path + path.format(id=id)))

    def prompts(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yield prompts, newest first; the filters are those of the API."""
        query = {"limit": 500, **filters}
        return self._connection.pages(f"{self._path}/prompts", "prompts", by="before", **query)

    def comparisons(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yield comparisons, oldest first; the filters are those of the API."""
        return self._rows("/comparisons", "comparisons", filters)

    def judgments(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yield everybody's judgments, oldest first; the filters are those of the API."""
        return self._rows("/judgments/all", "judgments", filters)

    def judged_pairs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yield the pairs that each judgment implies; the filters are those of the API."""
        return self._rows("/preferences", "preferences", filters)

    def _rows(self, path: str, name: str, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        return self._connection.pages(self._path + path, name, **{"limit": PAGE, **filters})

    def _wait_for(self, number: int, timeout_s: float, shown: Meter) -> Export:
        for _ in _looks(timeout_s, f"export {number}", "rows_of_export() goes on waiting"):
            export = self.export(number)
            if export.state == "ready":
                return export
            if export.state == "failed":
                raise JobFailed(f"export {number} failed: {export.error}")
            shown.show(f"Export {number}: {export.state}", *self._done(export.job_id))
        raise AssertionError("the looks end with an error")

    def _done(self, job_id: int | None) -> tuple[float, float | None]:
        if job_id is None:
            return 0, None
        job = self._connection.get(f"{self._path}/jobs/{job_id}")
        return job["progress_done"], job["progress_total"]

    def _imported(self, job: dict[str, Any], timeout_s: float, shown: Meter) -> dict[str, Any]:
        number = job["id"]
        for _ in _looks(timeout_s, f"job {number}", "the server goes on with the import"):
            job = self._connection.get(f"{self._path}/jobs/{number}")
            shown.show(f"Import: {job['state']}", job["progress_done"], job["progress_total"])
            if job["state"] not in {"queued", "running"}:
                break
        if job["state"] != "succeeded":
            raise JobFailed(f"job {number} {job['state']}: {job['error']}")
        result: dict[str, Any] = self._connection.get(
            f"{self._path}/imports/{job['result']['import_id']}"
        )
        return result


def _looks(timeout_s: float, what: str, then: str) -> Iterator[None]:
    """Yield now and at growing distances until the time is over.

    Raises:
        WaitedTooLong: it is over.
    """
    end, wait_s = time.monotonic() + timeout_s, _FIRST_LOOK_S
    while True:
        yield
        if time.monotonic() >= end:
            raise WaitedTooLong(f"{what} is not ready after {timeout_s:g} s; {then}")
        time.sleep(min(wait_s, max(0.0, end - time.monotonic())))
        wait_s = min(2 * wait_s, _LONGEST_LOOK_S)
