"""Exports: creating them with options, and each with its manifest and what it left out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Form, Request, Response
from pydantic import BaseModel, Field

from app.domain.instruction_text import InstructionPlace
from app.errors import AttuneError, Conflict
from app.models import Export, Purpose, Split
from app.services.datasets import export_rows, exports
from app.services.datasets.judged_comparisons import Aggregate, ExportOptions, Ties
from app.services.jobs import jobs
from app.web import addresses, downloads
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render

router = addresses.page_router()

AGGREGATES: Mapping[str, str] = {
    Aggregate.VOTE_SHARE: "one row per pair, with the share of votes",
    Aggregate.MAJORITY: "one row per pair, by majority vote",
    Aggregate.EACH_VOTE: "one row per vote",
}
INSTRUCTION: Mapping[str, str] = {
    InstructionPlace.PROMPT: "in the prompt, as the model saw it",
    InstructionPlace.APART: "in a field of its own",
    InstructionPlace.NONE: "left out",
}
TIES: Mapping[str, str] = {Ties.DROP: "left out", Ties.HALF: "count half for each"}


class ExportForm(BaseModel):
    """The format and options of an export."""

    format: str = "trl-implicit"
    aggregate: Aggregate = Aggregate.MAJORITY
    ties: Ties = Ties.DROP
    min_agreement_percent: float = 0
    rounds: str = ""
    purpose: list[Purpose] = Field(default_factory=lambda: [Purpose.TRAIN])
    split: list[Split] = Field(default_factory=lambda: [Split.TRAIN])
    include_adjudicated: bool = False
    instruction: InstructionPlace = InstructionPlace.PROMPT

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
            instruction=self.instruction,
        )


@dataclass(frozen=True, slots=True)
class ExportRow:
    """An export with its state, progress, and error if it failed."""

    export: Export
    state: str
    error: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ExportsPage:
    """The exports, newest first, and the form for a new one."""

    rows: list[ExportRow]
    form: ExportForm
    formats: Mapping[str, str]
    aggregates: Mapping[str, str]
    ties: Mapping[str, str]
    instruction: Mapping[str, str]
    error: str = ""

    @property
    def is_busy(self) -> bool:
        """Whether an export is being written."""
        return any(row.state == exports.QUEUED for row in self.rows)


@dataclass(frozen=True, slots=True)
class ExportPage:
    """One export with its manifest."""

    row: ExportRow
    title: str

    @property
    def counts(self) -> Mapping[str, Any]:
        """The counts of what was exported and, with reasons, left out."""
        counts = self.row.export.manifest.get("counts", {})
        return counts if isinstance(counts, Mapping) else {}

    @property
    def left_out(self) -> list[tuple[str, str, int]]:
        """The reasons, what they apply to, and how many."""
        return [
            (reason, what, count)
            for what in ("comparisons", "judgments", "rows")
            for reason, count in sorted(self.counts.get(f"{what}_out", {}).items())
        ]

    @property
    def manifest(self) -> str:
        """The manifest that is stored with the file."""
        return json.dumps(self.row.export.manifest, indent=2, ensure_ascii=False, sort_keys=True)


@router.get("/p/{slug}/exports")
def show_all(request: Request, access: LeadAccess) -> Response:
    """List the exports."""
    return render(request, "exports/page.html", _page(access, ExportForm()))


@router.get("/p/{slug}/exports/live")
def live(request: Request, access: LeadAccess) -> Response:
    """Return the list, which refreshes while an export is being written."""
    return render(request, "exports/_list.html", _page(access, ExportForm()), fragment=True)


@router.post("/p/{slug}/exports")
def create(request: Request, access: LeadAccess, form: Annotated[ExportForm, Form()]) -> Response:
    """Create an export, which a job writes."""
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
    url = addresses.path("exports.show_all", slug=access.project.slug)
    return redirect(request, url, notice=f"Export {made.number} is being written.")


@router.get("/p/{slug}/exports/{number}")
def show(request: Request, access: LeadAccess, number: int) -> Response:
    """Show one export with its manifest."""
    row = _row(access, exports.get(access.session, access.project.id, number))
    title = export_rows.TITLES.get(row.export.format, row.export.format)
    return render(request, "exports/one.html", ExportPage(row, title))


@router.get("/p/{slug}/exports/{number}/download")
def download(request: Request, access: LeadAccess, number: int) -> Response:
    """Send the file of an export, or the part that a `Range` request asks for."""
    export = exports.get(access.session, access.project.id, number)
    if export.state != exports.READY:
        raise Conflict(f"export {number} is {export.state}; it has no file yet")
    name = f"{access.project.slug}-export-{number}-{export.format}.jsonl"
    return downloads.file(request, export.uri, name)


def _page(access: ProjectAccess, form: ExportForm, error: str = "") -> ExportsPage:
    listed = exports.of_project(access.session, access.project.id)
    return ExportsPage(
        [_row(access, export) for export in listed],
        form,
        export_rows.TITLES,
        AGGREGATES,
        TIES,
        INSTRUCTION,
        error,
    )


def _row(access: ProjectAccess, export: Export) -> ExportRow:
    state, error = exports.state_of(access.session, export)
    job = jobs.get(access.session, export.job_id) if export.job_id else None
    lines = [line for line in error.strip().splitlines() if line.strip()]
    return ExportRow(
        export,
        state,
        lines[-1] if lines else "",
        job.progress_done if job else 0,
        job.progress_total if job else 0,
    )
