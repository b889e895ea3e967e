"""Agreement: overall, over time and between labelers, and the quality of each labeler."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from sqlalchemy.orm import Session

from app.domain.agreement import EXPECTATION, WEIGHTING
from app.domain.labeler_agreement import LabelerAgreement
from app.domain.measures import Interval, Measure, Undefined
from app.models import Checkpoint, CheckpointKind, Guidelines, Project, Round
from app.services.checkpoints import checkpoints
from app.services.project import projects, prompt_search
from app.services.quality import agreement, kept_figures, labeler_quality
from app.services.quality.absolute_agreement import FREE_TEXT
from app.services.quality.agreement import AgreementReport
from app.services.quality.labeler_quality import Quality
from app.services.rounds import loop_overview, page_verdicts, round_progress
from app.web import addresses, chart_files, charts, verdict_words
from app.web.charts import Chart, ChartBand, ChartEvent, ChartLine
from app.web.deps import LeadAccess
from app.web.render import render
from app.web.verdict_words import VerdictWords

router = addresses.page_router()

FEWEST_SHARED = 30
HEAT_MOST = 16  # labelers, beyond which the heat map leaves out who is compared with nobody


@dataclass(frozen=True, slots=True)
class HeatMapCell:
    """Two labelers in the heat map: their agreement, or only the number of shared comparisons."""

    share: float | None
    kappa: float | None  # Cohen's
    n: int
    shade: int  # 0 to 6, which the style sheet maps to colors


@dataclass(frozen=True, slots=True)
class ChosenGroup:
    """The filters of the page; None or empty means all."""

    round: int | None = None
    version: int | None = None
    source: str = ""
    category: str = ""
    tag: str = ""
    chosen: bool = False  # include comparisons that a rule chose

    @property
    def where(self) -> str:
        """Of which part of the judgments the figures are, as the end of a phrase."""
        if self.version or self.source or self.category or self.tag:
            return " in this selection"
        return f" in round {self.round}" if self.round else ""

    def address(self, *, chosen: bool) -> str:
        """Return the page's query with the same filters, with or without chosen comparisons."""
        values = {
            "round": self.round,
            "version": self.version,
            "source": self.source,
            "category": self.category,
            "tag": self.tag,
            "chosen": int(chosen),
        }
        return urlencode({name: value for name, value in values.items() if value})


@dataclass(frozen=True, slots=True)
class AgreementPage:
    """The report with its verdict and filters, the labelers' quality, the newest reward model."""

    verdict: VerdictWords
    report: AgreementReport
    quality: dict[str, Quality]
    chosen_round: int | None
    chosen_version: int | None
    chosen_source: str
    rounds: list[Round]
    versions: list[Guidelines]
    sources: list[str]
    chosen_category: str
    categories: list[str]
    chosen_tag: str
    tags: list[str]
    reward: Checkpoint | None
    low: int
    as_of: datetime | None  # of figures that newer judgments are not in yet
    other_stratum: str  # the query that includes chosen comparisons, or leaves them out
    points_url: str  # of the chart's file
    file_name: str
    expectation: str = EXPECTATION
    weighting: str = WEIGHTING
    fewest_shared: int = FEWEST_SHARED  # below, two labelers are not compared on the page
    free_text: str = FREE_TEXT

    @property
    def contents(self) -> list[tuple[str, str]]:
        """The sections that are shown, each by its id and title."""
        has_orders, has_ratings = self.report.has_orders, bool(self.report.absolute.criteria)
        sections = [
            ("figures", "Figures", has_orders),
            ("ratings", "Ratings", has_ratings),
            ("levels", "Reference levels", has_orders),
            ("over-time", "Over time", has_orders),
            ("between", "Between labelers", has_orders),
            ("groups", "By group", has_orders),
            ("labelers", "Labelers", True),
        ]
        return [(name, title) for name, title, is_shown in sections if is_shown]

    @property
    def has_two_alphas(self) -> bool:
        """Whether alpha depends visibly on what counts the same, as it may with unequal overlap."""
        overall = self.report.overall
        published, by_comparison = overall.alpha.value, overall.alpha_by_comparison.value
        if isinstance(published, Undefined) or isinstance(by_comparison, Undefined):
            return False
        return f"{published:.2f}" != f"{by_comparison:.2f}"

    @property
    def is_filtered(self) -> bool:
        """Whether the report is of a part of the judgments only."""
        chosen = (self.chosen_round, self.chosen_version, self.chosen_source)
        return any((*chosen, self.chosen_category, self.chosen_tag))

    @property
    def over_time(self) -> Chart:
        """A chart of raw agreement over time, in percent."""
        chart = over_time(self.report)
        return replace(chart, csv_url=self.points_url, file_name=self.file_name)

    @property
    def sharing(self) -> list[str]:
        """The labelers who share comparisons with others, in the order they joined."""
        names = {str(name) for pair in self.report.pairs for name in (pair.first, pair.second)}
        return sorted(names, key=lambda name: (len(name), name))

    @property
    def names(self) -> list[str]:
        """Those in the heat map: of many labelers, only those who are compared with somebody."""
        return in_heat_map(self.sharing, self.heat)

    @property
    def most_shared(self) -> int:
        """The most comparisons that two labelers share."""
        return max((pair.raw.n for pair in self.report.pairs), default=0)

    @property
    def heat(self) -> dict[tuple[str, str], HeatMapCell]:
        """The cells of the heat map, by pair of names in either order."""
        return heat(self.report)

    @property
    def labelers(self) -> list[tuple[LabelerAgreement | None, Quality]]:
        """The agreement and the quality of each labeler."""
        agreed = {str(row.labeler): row for row in self.report.labelers}
        return [(agreed.get(name), quality) for name, quality in self.quality.items()]

    @property
    def measured(self) -> frozenset[str]:
        """Which figures some labeler has; the columns of others are left out."""
        figures = [
            figure
            for agreed, quality in self.labelers
            for figure in (
                ("alpha", agreed.alpha if agreed else None),
                ("gold", quality.gold),
                ("repeats", quality.same_again),
            )
        ]
        return frozenset(
            name for name, one in figures if one and not isinstance(one.value, Undefined)
        )

    @property
    def by_completion(self) -> dict[str, Measure]:
        """The agreement of each labeler with the others on single responses."""
        return dict(self.report.absolute.labelers)

    @property
    def reward_accuracy(self) -> float | None:
        """The accuracy of the newest reward model on single held-out votes."""
        lines = loop_overview.reward_lines(self.reward)
        return lines.accuracy if lines else None


def _asked(
    round: Annotated[int | Literal[""], Query()] = "",
    version: Annotated[int | Literal[""], Query()] = "",
    source: Annotated[str, Query()] = "",
    category: Annotated[str, Query()] = "",
    tag: Annotated[str, Query()] = "",
    chosen: Annotated[bool, Query()] = False,
) -> ChosenGroup:
    return ChosenGroup(round or None, version or None, source, category, tag, chosen)


Asked = Annotated[ChosenGroup, Depends(_asked)]


@router.get("/p/{slug}/agreement")
def show(request: Request, access: LeadAccess, asked: Asked) -> Response:
    """Show how far labelers agree."""
    page = _page(access.session, access.project, asked)
    return render(request, "agreement/page.html", page)


@router.get("/p/{slug}/agreement/over-time.csv")
def points(access: LeadAccess, asked: Asked) -> Response:
    """Return agreement over time as a file for spreadsheets."""
    report = _report(access.session, access.project.id, asked)
    return chart_files.csv(replace(over_time(report), file_name=_file_name(access.project)))


def over_time(report: AgreementReport) -> Chart:
    """Return a chart of raw agreement by the time comparisons were completed."""
    groups = [group for group in report.over_time if isinstance(group.raw.value, float)]
    points = tuple((float(at), 100 * _value(group.raw)) for at, group in enumerate(groups, 1))
    ends = tuple(
        (100 * group.raw.interval.low, 100 * group.raw.interval.high)
        if isinstance(group.raw.interval, Interval)
        else None
        for group in groups
    )
    newest = [max(group.versions) for group in groups]
    events = tuple(
        ChartEvent(at + 0.5, f"v{after}", f"version {after} of the guidelines")
        for at, (before, after) in enumerate(pairwise(newest), 1)
        if after > before
    )
    return Chart(
        "Over time",
        "comparisons in the order they were completed; the band is typical of trained labelers",
        (ChartLine("agreement", points, ends=ends),),
        digits=0,
        unit="%",
        y_name="Raw agreement",
        bands=(ChartBand(63, 77, "trained labelers"),),
        x_name="Group",
        events=events,
    )


def in_heat_map(sharing: Sequence[str], cells: Mapping[tuple[str, str], HeatMapCell]) -> list[str]:
    """Return the labelers of the heat map, without those of many who are compared with nobody."""
    if len(sharing) <= HEAT_MOST:
        return list(sharing)
    compared = {name for pair, cell in cells.items() if cell.share is not None for name in pair}
    return [name for name in sharing if name in compared]


def heat(report: AgreementReport) -> dict[tuple[str, str], HeatMapCell]:
    """Return the agreement of every two labelers, or a count below thirty shared comparisons."""
    cells: dict[tuple[str, str], HeatMapCell] = {}
    for pair in report.pairs:
        value = pair.raw.value
        is_shown = pair.raw.n >= FEWEST_SHARED and isinstance(value, float)
        share = _value(pair.raw) if is_shown else None
        shade = 0 if share is None else min(max(int((share - 0.45) / 0.07), 0), 6)
        kappa = _value(pair.kappa) if is_shown and isinstance(pair.kappa.value, float) else None
        cell = HeatMapCell(share, kappa, pair.raw.n, shade)
        cells[str(pair.first), str(pair.second)] = cell
        cells[str(pair.second), str(pair.first)] = cell
    return cells


def _report(session: Session, project_id: int, asked: ChosenGroup) -> AgreementReport:
    all_rounds = round_progress.of_project(session, project_id)
    return agreement.report(
        session,
        project_id,
        round_id=next((one.id for one in all_rounds if one.number == asked.round), None),
        version=asked.version,
        source=asked.source or None,
        categories=(asked.category,) if asked.category else (),
        tags=(asked.tag,) if asked.tag else (),
        chosen=asked.chosen,
    )


def _page(session: Session, project: Project, asked: ChosenGroup) -> AgreementPage:
    project_id = project.id
    all_rounds = round_progress.of_project(session, project_id)
    is_known = any(one.number == asked.round for one in all_rounds)
    report = _report(session, project_id, asked)
    reward = checkpoints.of_project(session, project_id, CheckpointKind.REWARD)
    verdict = page_verdicts.of_agreement(session, project, report, asked.where)
    return AgreementPage(
        verdict_words.words(verdict, project.slug),
        report,
        {row.labeler: row for row in labeler_quality.of_project(session, project_id)},
        asked.round if is_known else None,
        asked.version,
        asked.source,
        all_rounds,
        projects.guidelines_history(session, project_id),
        prompt_search.sources(session, project_id),
        asked.category,
        prompt_search.categories(session, project_id),
        asked.tag,
        prompt_search.tags(session, project_id),
        reward[0] if reward else None,
        agreement.lowest(session, project_id).total,
        kept_figures.as_of(session),
        asked.address(chosen=not asked.chosen),
        _points_url(project, asked),
        _file_name(project),
    )


def _points_url(project: Project, asked: ChosenGroup) -> str:
    address = addresses.path("agreement.points", slug=project.slug)
    query = asked.address(chosen=asked.chosen)
    return f"{address}?{query}" if query else address


def _file_name(project: Project) -> str:
    return charts.file_name(project.slug, "agreement-over-time")


def _value(measure: Measure) -> float:
    return measure.value if isinstance(measure.value, int | float) else 0.0
