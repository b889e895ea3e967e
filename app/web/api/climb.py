"""The climb: what each round's policy reached, with intervals."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.domain.climb import ClimbRound
from app.domain.measures import Measure
from app.services.rounds import climb
from app.web import climb_figures
from app.web.agreement_schemas import MeasureOut, measure_out
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["rounds"], route_class=GuardedRoute)


class ClimbFigureOut(MeasureOut):
    """A figure of a round; without a value, `reason` says why it was not measured."""

    is_enough: Annotated[
        bool | None,
        Field(
            description="Whether a win rate tells the policies apart or is known to ±10 points, "
            "and agreement and accuracy to ±10 points; null where neither applies."
        ),
    ]


class ClimbRoundOut(BaseModel):
    """A round's policy; `initial` is the SFT or base model that its KL is measured to."""

    round: int
    state: str
    policy: str
    previous: str
    initial: str
    votes_by: Annotated[str, Field(description="people, or the AI judge in their place.")]
    scores_by: Annotated[str, Field(description="The reward model or rewards behind `scores_…`.")]
    figures: Annotated[
        dict[str, ClimbFigureOut],
        Field(
            description="Win rates by blind votes (`votes_…`) and by scores, over the initial "
            "model (`…_sft`) and the previous policy (`…_last`); agreement of the round's "
            "judgments; the reward model's accuracy on held-out votes with human level and noise "
            "ceiling; KL in nats per response; mean lengths in characters."
        ),
    ]


class LeftOutRoundOut(BaseModel):
    """A round that is left out."""

    round: int
    reason: str


class ClimbOut(BaseModel):
    """The rounds that have a policy and are finished, the oldest first, and the others."""

    rounds: list[ClimbRoundOut]
    left_out: list[LeftOutRoundOut]


@router.get("/climb")
def show(access: LeadAccess) -> ClimbOut:
    """Return the figures of each round."""
    found = climb.of_project(access.session, access.project)
    return ClimbOut(
        rounds=[_round(each) for each in found.rounds],
        left_out=[
            LeftOutRoundOut(round=each.number, reason=each.reason) for each in found.left_out
        ],
    )


def _round(each: ClimbRound) -> ClimbRoundOut:
    return ClimbRoundOut(
        round=each.number,
        state=each.state,
        policy=each.policy,
        previous=each.last,
        initial=each.initial,
        votes_by=each.votes_by or "people",
        scores_by=each.scores_by,
        figures={name: _figure(name, it) for name, it in climb_figures.named(each).items()},
    )


def _figure(name: str, measure: Measure) -> ClimbFigureOut:
    return ClimbFigureOut(
        **measure_out(measure).model_dump(), is_enough=climb_figures.is_enough(name, measure)
    )
