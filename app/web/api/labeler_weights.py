"""Labeler weights in use: read, put to use and taken back."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.domain.reward_parts import LabelerWeight
from app.services.quality import weights_in_use
from app.services.quality.weights_in_use import WeightsInUse
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute

router = APIRouter(
    prefix="/api/v1/projects/{slug}/agreement/weights", tags=["agreement"], route_class=GuardedRoute
)


class WeightsIn(BaseModel):
    """The weights of labelers by pseudonym; those who are not named weigh 1."""

    weights: dict[str, float] = Field(examples=[{"L2": 0.5, "L3": 1.4}])


class WeightsInUseOut(BaseModel):
    """The weights that rounds take when launched; empty if none are in use."""

    weights: dict[str, float]
    since: datetime | None
    by: str = Field(description="The name of the lead who put them to use.")
    earlier: dict[str, float] | None = Field(
        description="What taking them back restores; null for none."
    )
    why_not: str = Field(description="Why labelers of this project cannot be weighted, if so.")


@router.get("/in-use")
def show(access: LeadAccess) -> WeightsInUseOut:
    """Return the weights that rounds take when launched."""
    return _out(access, weights_in_use.of_project(access.session, access.project))


@router.put("/in-use")
def use(access: LeadAccess, body: WeightsIn) -> WeightsInUseOut:
    """Use weights in all rounds launched from now on, unless a plan has `reward.labelers`."""
    labelers = [LabelerWeight(name, weight) for name, weight in body.weights.items()]
    in_use = weights_in_use.use(access.session, access.project, labelers, actor_id=access.user.id)
    return _out(access, in_use)


@router.delete("/in-use")
def take_back(
    access: LeadAccess,
    since: Annotated[
        datetime | None,
        Query(description="As returned with the weights; refused if others are in use."),
    ] = None,
) -> WeightsInUseOut:
    """Take the weights out of use; the weights that they replaced are in use again, if any."""
    in_use = weights_in_use.take_back(
        access.session, access.project, since=since, actor_id=access.user.id
    )
    return _out(access, in_use)


def _out(access: LeadAccess, in_use: WeightsInUse) -> WeightsInUseOut:
    return WeightsInUseOut(
        weights=dict(in_use.weights),
        since=in_use.since,
        by=in_use.by,
        earlier=None if in_use.earlier is None else dict(in_use.earlier),
        why_not=weights_in_use.why_not(access.project),
    )
