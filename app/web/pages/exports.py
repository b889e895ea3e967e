"""Exports: creating them with options, and each with its manifest and what it left out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Form, Request, Response
from pydantic import BaseModel, Field

from app.domain.instruction_text import InstructionPlace
from app.domain.judged_by import JudgedBy
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.errors import AttuneError
from app.formats import containers
from app.formats.containers import Container
from app.formats.manifest import OPTION_TITLES, by_count
from app.models import Export, Job, Project, Purpose, Split
from app.services.datasets import export_options, export_rows, exports
from app.services.datasets.judged_comparisons import Aggregate, ExportOptions, Ties
from app.services.jobs import job_waits, jobs
from app.services.project import prompt_search
from app.services.rounds import round_progress
from app.web import addresses, export_files, page_words
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()

DEFAULTS = ExportOptions()
AGGREGATES: Mapping[str, str] = {
    Aggregate.MAJORITY: "one row per pair, by majority vote",
    Aggregate.VOTE_SHARE: "one row per pair, with the lead in votes as margin (TRL)",
    Aggregate.EACH_VOTE: "one row per vote",
}
UNITS: Mapping[str, str] = {
    "comparisons": "Comparisons",
    "judgments": "Judgments",
    "pairs": "Pairs",
    "demonstrations": "Imported demonstrations",
}
INSTRUCTION: Mapping[str, str] = {
    InstructionPlace.PROMPT: "in the prompt, as the model saw it",
    InstructionPlace.APART: "in a field of its own",
    InstructionPlace.NONE: "left out",
}
JUDGED_BY: Mapping[str, str] = {
    JudgedBy.HUMAN: "people",
    JudgedBy.AI: "AI judges",
    JudgedBy.BOTH: "people and AI judges",
}
TIES: Mapping[str, str] = {Ties.DROP: "left out", Ties.HALF: "count half for each"}


FOLDED = (
    *("min_agreement_percent", "instruction", "rounds", "since", "license", "judged_by"),
    *("category", "tag", "include_adjudicated"),
)
"""The options that the form folds away, unless one of them is set."""


class ExportForm(BaseModel):
    """The format and options of an export, with the defaults of `ExportOptions`."""

    format: str = export_options.DEFAULT_FORMAT
    container: Container = DEFAULTS.container
    judged_by: JudgedBy = DEFAULTS.judged_by
    aggregate: Aggregate = DEFAULTS.aggregate
    ties: Ties = DEFAULTS.ties
    min_agreement_percent: float = 100 * DEFAULTS.min_agreement
    instruction: InstructionPlace = DEFAULTS.instruction
    rounds: str = ", ".join(map(str, DEFAULTS.rounds))
    since: str = ""
    license: str = DEFAULTS.license
    purpose: list[Purpose] = Field(default_factory=lambda: list(DEFAULTS.purposes))
    split: list[Split] = Field(default_factory=lambda: list(DEFAULTS.splits))
    include_adjudicated: bool = DEFAULTS.include_adjudicated
    category: list[str] = Field(default_factory=lambda: list(DEFAULTS.categories))
    tag: list[str] = Field(default_factory=lambda: list(DEFAULTS.tags))

    def options(self) -> ExportOptions:
        """Return the options.

        Raises:
            Invalid: a value breaks a rule.
        """
        return ExportOptions.from_json(
            {
                "judged_by": self.judged_by,
                "aggregate": self.aggregate,
                "ties": self.ties,
                "min_agreement": self.min_agreement_percent / 100,
                "rounds": self.rounds,
                "purposes": self.purpose,
                "splits": self.split,
                "include_adjudicated": self.include_adjudicated,
                "categories": self.category,
                "tags": self.tag,
                "instruction": self.instruction,
                "since": self.since,
                "container": self.container,
                "license": self.license,
            }
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
class ExportUnit:
    """How many of a unit were considered, exported, and excluded for each reason."""

    title: str
    considered: int
    exported: int
    excluded: Mapping[str, int]

    @property
    def excluded_count(self) -> int:
        """The number excluded for any reason."""
        return sum(self.excluded.values())


@dataclass(frozen=True, slots=True)
class ExportsPage:
    """The exports, newest first, and the form for a new one."""

    rows: list[ExportRow]
    form: ExportForm
    formats: Mapping[str, str]
    aggregates: Mapping[str, str]
    ties: Mapping[str, str]
    containers: Mapping[str, str]
    instruction: Mapping[str, str]
    judged_by: Mapping[str, str]
    error: str = ""
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    has_rounds: bool = False
    words: Mapping[str, str] = field(default_factory=lambda: OPTION_TITLES)

    @property
    def titles(self) -> Mapping[str, str]:
        """The titles of all formats, whether or not they are on offer."""
        return export_rows.TITLES

    @property
    def has_more_options(self) -> bool:
        """Whether an option is set that the form folds away."""
        usual = ExportForm()
        return any(getattr(self.form, name) != getattr(usual, name) for name in FOLDED)

    @property
    def is_busy(self) -> bool:
        """Whether an export is being written."""
        return any(row.state == exports.QUEUED for row in self.rows)


@dataclass(frozen=True, slots=True)
class ExportPage:
    """One export with its manifest; while it is being written, its job and why that waits."""

    row: ExportRow
    title: str
    job: Job | None
    waits_for: str

    @property
    def units(self) -> list[ExportUnit]:
        """What was considered of each unit, exported, and excluded by reason."""
        return [
            ExportUnit(UNITS[name], unit["considered"], unit["exported"], unit["excluded"])
            for name, unit in exports.counts(self.row.export).items()
        ]

    @property
    def excluded(self) -> list[tuple[str, str, int]]:
        """The unit, the reason and the count of everything excluded, the most frequent first."""
        return [
            (unit.title, reason, count)
            for unit in self.units
            for reason, count in by_count(unit.excluded)
        ]

    @property
    def settled(self) -> int:
        """The number of exported comparisons that follow a settlement."""
        counts = self.row.export.manifest.get("counts", {})
        return int(counts.get("settled", 0))

    @property
    def options(self) -> list[tuple[str, str]]:
        """The options that were applied, in the words of the form."""
        options = export_options.with_moment(self.row.export.options)
        return [
            (OPTION_TITLES.get(name, page_words.plain(name)), _in_words(name, value))
            for name, value in options.items()
        ]

    @property
    def rows_sha256(self) -> str:
        """The hash of the rows, if the file is not the rows as they are."""
        digest = str(self.row.export.manifest.get("content_sha256", ""))
        return "" if digest == self.row.export.sha256 else digest

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
def show(request: Request, access: LeadAccess, number: RowId) -> Response:
    """Show one export with its manifest."""
    return render(request, "exports/one.html", _one(access, number))


@router.get("/p/{slug}/exports/{number}/live")
def live_one(request: Request, access: LeadAccess, number: RowId) -> Response:
    """Return what the page of an export says, which refreshes while the export is being written."""
    return render(request, "exports/_one.html", _one(access, number), fragment=True)


@router.get("/p/{slug}/exports/{number}/download")
def download(request: Request, access: LeadAccess, number: RowId) -> Response:
    """Send the file of an export, or the part that a `Range` request asks for."""
    export = exports.get(access.session, access.project.id, number)
    return export_files.file(request, access.session, access.project, export)


@router.get("/p/{slug}/exports/{number}/folder")
def download_folder(request: Request, access: LeadAccess, number: RowId) -> Response:
    """Send the folder of an export as a tar: the data, the manifest and the data-set card."""
    export = exports.get(access.session, access.project.id, number)
    return export_files.folder(request, access.session, access.project, export)


def _in_words(name: str, value: Any) -> str:
    """Return the value of an option as the form words it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        words = [page_words.purpose(one) if name == "purposes" else str(one) for one in value]
        return ", ".join(words) or "all"
    if name == "min_agreement":
        return f"{100 * value:.0f} %"
    known = _VALUES.get(name, {})
    return known.get(str(value), str(value)) or "none"


_VALUES: Mapping[str, Mapping[str, str]] = {
    "aggregate": AGGREGATES,
    "ties": TIES,
    "judged_by": JUDGED_BY,
    "instruction": INSTRUCTION,
    "container": {str(container): title for container, title in containers.TITLES.items()},
}


def _page(access: ProjectAccess, form: ExportForm, error: str = "") -> ExportsPage:
    listed = exports.of_project(access.session, access.project.id)
    return ExportsPage(
        [_row(access, export) for export in listed],
        form,
        _formats(access.project),
        AGGREGATES,
        TIES,
        containers.TITLES,
        INSTRUCTION,
        JUDGED_BY,
        error,
        tuple(prompt_search.categories(access.session, access.project.id)),
        tuple(prompt_search.tags(access.session, access.project.id)),
        round_progress.has_any(access.session, access.project.id),
    )


def _one(access: ProjectAccess, number: int) -> ExportPage:
    session = access.session
    row = _row(access, exports.get(session, access.project.id, number))
    job = None if row.export.job_id is None else jobs.get(session, row.export.job_id)
    title = export_rows.TITLES.get(row.export.format, row.export.format)
    return ExportPage(row, title, job, "" if job is None else job_waits.why(session, job))


def _formats(project: Project) -> dict[str, str]:
    """Return the formats on offer; of demonstrations only where there are some to come."""
    has_texts = project.trains or KINDS[JudgmentKind(project.judgment_kind)].is_written
    return {
        name: title
        for name, title in export_rows.TITLES.items()
        if has_texts or name not in export_rows.DEMONSTRATIONS
    }


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
