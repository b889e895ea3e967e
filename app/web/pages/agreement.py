"""Agreement: figures with intervals, over time, between labelers, and each labeler's habits."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app.domain.agreement import EXPECTATION
from app.domain.labeler_agreement import LabelerAgreement
from app.domain.measures import Interval, Measure
from app.models import Checkpoint, CheckpointKind, Guidelines, Round
from app.services.checkpoints import checkpoints
from app.services.project import projects, prompts
from app.services.quality import agreement, labeler_quality
from app.services.quality.absolute_agreement import FREE_TEXT
from app.services.quality.agreement import AgreementReport
from app.services.quality.labeler_quality import Quality
from app.services.rounds import loop_overview, round_progress
from app.web.curves import Band, Curve, Line
from app.web.deps import LeadAccess
from app.web.render import render

router = APIRouter(include_in_schema=False)

FEWEST_SHARED = 30


@dataclass(frozen=True, slots=True)
class Cell:
    """Two labelers in the heat map: how often they say the same, or only how much they share."""

    share: float | None
    n: int
    shade: int  # 0 to 6, by which the style sheet colours it


@dataclass(frozen=True, slots=True)
class AgreementPage:
    """The report, what was asked for, and what to compare it with."""

    report: AgreementReport
    quality: dict[str, Quality]
    chosen_round: int | None
    chosen_version: int | None
    chosen_source: str
    rounds: list[Round]
    versions: list[Guidelines]
    sources: list[str]
    reward: Checkpoint | None
    low: int
    expectation: str = EXPECTATION
    free_text: str = FREE_TEXT

    @property
    def over_time(self) -> Curve:
        """Raw agreement as labeling went on, in percent."""
        return over_time(self.report)

    @property
    def names(self) -> list[str]:
        """The labelers who share a comparison with another, in the order they joined."""
        found = {str(name) for pair in self.report.pairs for name in (pair.first, pair.second)}
        return sorted(found, key=lambda name: (len(name), name))

    @property
    def heat(self) -> dict[tuple[str, str], Cell]:
        """The cells of the heat map, by either order of names."""
        return heat(self.report)

    @property
    def labelers(self) -> list[tuple[LabelerAgreement | None, Quality]]:
        """Each labeler's agreement beside their habits."""
        agreed = {str(one.labeler): one for one in self.report.labelers}
        return [(agreed.get(name), one) for name, one in self.quality.items()]

    @property
    def by_completion(self) -> dict[str, Measure]:
        """How each labeler agrees with the others on completions one by one."""
        return dict(self.report.absolute.labelers)

    @property
    def reward_accuracy(self) -> float | None:
        """What the newest reward model reached on single held-out votes."""
        lines = loop_overview.reward_lines(self.reward)
        return lines.accuracy if lines else None


@router.get("/p/{slug}/agreement")
def show(
    request: Request,
    access: LeadAccess,
    round: Annotated[int | Literal[""], Query()] = "",
    version: Annotated[int | Literal[""], Query()] = "",
    source: Annotated[str, Query()] = "",
) -> Response:
    """Show how far labelers agree."""
    page = _page(access.session, access.project.id, round or None, version or None, source)
    return render(request, "agreement/page.html", page)


def over_time(report: AgreementReport) -> Curve:
    """Draw raw agreement by when comparisons were finished, with its interval."""
    bins = [one for one in report.over_time if isinstance(one.raw.value, float)]
    points = tuple((float(at), 100 * _value(one.raw)) for at, one in enumerate(bins, 1))
    spread = tuple(
        (float(at), 100 * one.raw.interval.low, 100 * one.raw.interval.high)
        for at, one in enumerate(bins, 1)
        if isinstance(one.raw.interval, Interval)
    )
    newest = [max(one.versions) for one in bins]
    events = tuple(
        (at + 0.5, f"v{after}")
        for at, (before, after) in enumerate(pairwise(newest), 1)
        if after > before
    )
    return Curve(
        "Over time",
        "comparisons as they were finished; the green band is what trained labelers reach",
        (Line("same answer, with its interval", points),),
        digits=0,
        unit="%",
        bands=(Band(63, 77, "trained labelers"),),
        x_name="Part",
        spread=spread,
        events=events,
    )


def heat(report: AgreementReport) -> dict[tuple[str, str], Cell]:
    """Return what every two labelers share; below thirty comparisons the count alone."""
    cells: dict[tuple[str, str], Cell] = {}
    for pair in report.pairs:
        value = pair.raw.value
        is_shown = pair.raw.n >= FEWEST_SHARED and isinstance(value, float)
        share = _value(pair.raw) if is_shown else None
        shade = 0 if share is None else min(max(int((share - 0.45) / 0.07), 0), 6)
        cell = Cell(share, pair.raw.n, shade)
        cells[str(pair.first), str(pair.second)] = cell
        cells[str(pair.second), str(pair.first)] = cell
    return cells


def _page(
    session: Session, project_id: int, number: int | None, version: int | None, source: str
) -> AgreementPage:
    all_rounds = round_progress.of_project(session, project_id)
    chosen = next((one for one in all_rounds if one.number == number), None)
    report = agreement.report(
        session,
        project_id,
        round_id=chosen.id if chosen else None,
        version=version,
        source=source or None,
    )
    reward = checkpoints.of_project(session, project_id, CheckpointKind.REWARD)
    return AgreementPage(
        report,
        {one.labeler: one for one in labeler_quality.of_project(session, project_id)},
        chosen.number if chosen else None,
        version,
        source,
        all_rounds,
        projects.guidelines_history(session, project_id),
        prompts.sources(session, project_id),
        reward[0] if reward else None,
        len(agreement.lowest(session, project_id)),
    )


def _value(measure: Measure) -> float:
    return measure.value if isinstance(measure.value, int | float) else 0.0
