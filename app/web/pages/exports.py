"""Exports: asked for with options, each with its manifest and the reason for what is out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from pydantic import BaseModel, Field

from app.errors import AttuneError, Conflict
from app.models import Export, Purpose, Split
from app.services.datasets import export_rows, exports
from app.services.datasets.judged_comparisons import Aggregate, ExportOptions, Ties
from app.services.jobs import jobs
from app.web import downloads
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render

router = APIRouter(include_in_schema=False)

AGGREGATES: Mapping[str, str] = {
    Aggregate.VOTE_SHARE: "one row a pair, with the share of votes",
    Aggregate.MAJORITY: "one row a pair, by majority",
    Aggregate.EACH_VOTE: "a row for each vote",
}
TIES: Mapping[str, str] = {Ties.DROP: "left out", Ties.HALF: "half each way"}


class ExportForm(BaseModel):
    """What to export."""

    format: str = "trl-implicit"
    aggregate: Aggregate = Aggregate.MAJORITY
    ties: Ties = Ties.DROP
    min_agreement_percent: float = 0
    rounds: str = ""
    purpose: list[Purpose] = Field(default_factory=lambda: [Purpose.TRAIN])
    split: list[Split] = Field(default_factory=lambda: [Split.TRAIN])
    include_adjudicated: bool = False

    def options(self) -> ExportOptions:
        """Return the options.

        Raises:
            Invalid: a value breaks a rule.
        """
        numbers = [part for part in self.rounds.replace(",", " ").split() if part.isdecimal()]
        return ExportOptions(
            aggregate=self.aggregate,
            ties=self.ties,
            min_agreement=self.min_agreement_percent / 100,
            rounds=tuple(map(int, numbers)),
            purposes=tuple(self.purpose),
            splits=tuple(self.split),
            include_adjudicated=self.include_adjudicated,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """An export with its state, and what went wrong if something did."""

    export: Export
    state: str
    error: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ExportsPage:
    """The exports, newest first, and the form."""

    rows: list[Row]
    form: ExportForm
    formats: Mapping[str, str]
    aggregates: Mapping[str, str]
    ties: Mapping[str, str]
    error: str = ""

    @property
    def is_busy(self) -> bool:
        """True while one is being written."""
        return any(row.state == exports.QUEUED for row in self.rows)


@dataclass(frozen=True, slots=True)
class ExportPage:
    """One export with its manifest."""

    row: Row
    title: str

    @property
    def counts(self) -> Mapping[str, Any]:
        """What went in and what was left out, with the reasons."""
        found = self.row.export.manifest.get("counts", {})
        return found if isinstance(found, Mapping) else {}

    @property
    def left_out(self) -> list[tuple[str, str, int]]:
        """Reasons, what they speak of, and how many."""
        return [
            (reason, what, count)
            for what in ("comparisons", "judgments", "rows")
            for reason, count in sorted(self.counts.get(f"{what}_out", {}).items())
        ]

    @property
    def manifest(self) -> str:
        """The manifest as it stands beside the file."""
        return json.dumps(self.row.export.manifest, indent=2, ensure_ascii=False, sort_keys=True)


@router.get("/p/{slug}/exports")
def show_all(request: Request, access: LeadAccess) -> Response:
    """List the exports."""
    return render(request, "exports/page.html", _page(access, ExportForm()))


@router.get("/p/{slug}/exports/live")
def live(request: Request, access: LeadAccess) -> Response:
    """Give the list, while one is being written."""
    return render(request, "exports/_list.html", _page(access, ExportForm()), fragment=True)


@router.post("/p/{slug}/exports")
def create(request: Request, access: LeadAccess, form: Annotated[ExportForm, Form()]) -> Response:
    """Ask for an export."""
    try:
        export_rows.check(form.format)
        made = exports.create(
            access.session,
            access.project,
            format=form.format,
            options=form.options(),
            created_by_id=access.user.id,
        )
    except AttuneError as error:
        page = _page(access, form, str(error))
        return render(request, "exports/page.html", page, status=422)
    url = f"/p/{access.project.slug}/exports"
    return redirect(request, url, notice=f"Export {made.number} is being written.")


@router.get("/p/{slug}/exports/{number}")
def show(request: Request, access: LeadAccess, number: int) -> Response:
    """Show one export with its manifest."""
    row = _row(access, exports.get(access.session, access.project.id, number))
    title = export_rows.TITLES.get(row.export.format, row.export.format)
    return render(request, "exports/one.html", ExportPage(row, title))


@router.get("/p/{slug}/exports/{number}/download")
def download(request: Request, access: LeadAccess, number: int) -> Response:
    """Send an export's bytes; `Range` requests resume."""
    found = exports.get(access.session, access.project.id, number)
    if found.state != exports.READY:
        raise Conflict(f"export {number} is {found.state}; it has no bytes yet")
    name = f"{access.project.slug}-export-{number}-{found.format}.jsonl"
    return downloads.file(request, found.uri, name)


def _page(access: ProjectAccess, form: ExportForm, error: str = "") -> ExportsPage:
    found = exports.of_project(access.session, access.project.id)
    return ExportsPage(
        [_row(access, one) for one in found], form, export_rows.TITLES, AGGREGATES, TIES, error
    )


def _row(access: ProjectAccess, found: Export) -> Row:
    state, error = exports.state_of(access.session, found)
    job = jobs.get(access.session, found.job_id) if found.job_id else None
    lines = [line for line in error.strip().splitlines() if line.strip()]
    return Row(
        found,
        state,
        lines[-1] if lines else "",
        job.progress_done if job else 0,
        job.progress_total if job else 0,
    )
