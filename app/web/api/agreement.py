"""Agreement: how far labelers agree, every figure with its interval or the reason it has none."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.domain.levels import Levels
from app.domain.measures import Measure, Undefined
from app.models import Purpose
from app.services import agreement, rounds
from app.web.deps import LeadAccess

router = APIRouter(prefix="/api/v1/projects/{slug}/agreement", tags=["agreement"])


class MeasureOut(BaseModel):
    """A figure; `undefined` says why there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    undefined: str | None


class AgreementOut(BaseModel):
    """Agreement over a project or one of its rounds."""

    raw: MeasureOut
    decided: MeasureOut
    alpha: MeasureOut
    tau: MeasureOut | None
    top1: MeasureOut | None
    comparisons: int
    judgments: int
    labelers: int
    units: int
    pairable: int
    human_level: float | None
    noise_ceiling: tuple[float, float] | None


@router.get("")
def show(
    access: LeadAccess, round: int | None = None, purpose: Purpose = Purpose.TRAIN
) -> AgreementOut:
    """Return agreement with intervals clustered by comparison."""
    session, project_id = access.session, access.project.id
    round_id = rounds.get(session, project_id, round).id if round is not None else None
    found = agreement.report(session, project_id, round_id=round_id, purpose=purpose).overall
    levels = found.levels if isinstance(found.levels, Levels) else None
    return AgreementOut(
        raw=_measure(found.raw),
        decided=_measure(found.decided),
        alpha=_measure(found.alpha),
        tau=_measure(found.ranks.tau) if found.ranks else None,
        top1=_measure(found.ranks.top1) if found.ranks else None,
        comparisons=found.comparisons,
        judgments=found.judgments,
        labelers=found.labelers,
        units=found.units,
        pairable=found.pairable,
        human_level=levels.human if levels else None,
        noise_ceiling=(levels.ceiling_low, levels.ceiling_high) if levels else None,
    )


def _measure(measure: Measure) -> MeasureOut:
    shown: dict[str, Any] = {"value": None, "low": None, "high": None, "undefined": None}
    if isinstance(measure.value, Undefined):
        shown["undefined"] = measure.value.reason
    else:
        shown["value"] = measure.value
    if not isinstance(measure.interval, Undefined):
        shown["low"], shown["high"] = measure.interval.low, measure.interval.high
    return MeasureOut(n=measure.n, **shown)
