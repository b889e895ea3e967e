"""The leaderboard: sources ranked by votes, with intervals."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.domain.leaderboard import ConnectedSources, Leaderboard
from app.models import Purpose
from app.services.quality import leaderboard_rows
from app.services.quality.leaderboard_filters import LeaderboardFilters
from app.web import leaderboard_view
from app.web.agreement_schemas import MeasureOut, measure_out
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["agreement"], route_class=GuardedRoute)


class RankedSourceOut(BaseModel):
    """A source; ranks are within its group."""

    source: str
    best_rank: int
    worst_rank: int
    win_rate: Annotated[
        MeasureOut,
        Field(
            description="Ties count half; against the reference, or the others on average. `n` is "
            "the number of prompts."
        ),
    ]
    strength: Annotated[MeasureOut, Field(description="In log odds, with mean 0 in the group.")]
    is_enough: Annotated[
        bool,
        Field(description="Whether the average win rate is known to differ from 50 %, or to ±10."),
    ]
    wins: int
    ties: int
    losses: int
    prompts: int
    mean_length: float


class SourceGroupOut(BaseModel):
    """Sources that votes connect, the strongest first; tables are in this order."""

    sources: list[RankedSourceOut]
    verdict: str
    wins: Annotated[Sequence[Sequence[int]], Field(description="Of the row against the column.")]
    ties: Sequence[Sequence[int]]
    winners: Annotated[
        Sequence[Sequence[str]],
        Field(description="Sources that won every vote: their strengths have no limit."),
    ]
    losers: Sequence[Sequence[str]]
    has_maximum: Annotated[
        bool, Field(description="False if a prior had to keep strengths finite.")
    ]
    length_effect: Annotated[MeasureOut, Field(description="Log odds per unit of the length term.")]


class SourcesOfCategoryOut(BaseModel):
    """The leaderboard on the prompts of one category."""

    category: str
    votes: int
    groups: list[SourceGroupOut]


class LeaderboardOut(BaseModel):
    """The leaderboard, and which judgments are behind it."""

    by: str
    reference: str
    length_controlled: bool
    groups: list[SourceGroupOut]
    without_votes: list[str]
    votes: int
    prompts: int
    judgments_of_people: int
    judgments_of_judges: int
    same_source: Annotated[
        int, Field(description="Pairs of responses by one source, which rank nothing.")
    ]
    no_preference: int
    chosen: Annotated[int, Field(description="Judgments on comparisons that a rule chose.")]
    includes_chosen: bool
    left_out: Annotated[
        dict[Purpose, int], Field(description="Judgments on comparisons of other purposes.")
    ]
    categories: list[SourcesOfCategoryOut]


@router.get("/leaderboard")
def show(access: LeadAccess, asked: Annotated[LeaderboardFilters, Query()]) -> LeaderboardOut:
    """Rank the sources of responses by the votes between them."""
    report = asked.read(access.session, access.project.id)
    board, counts = report.board, report.counts
    by_category = asked.by_category(access.session, access.project.id)
    return LeaderboardOut(
        by=asked.by,
        reference=asked.reference,
        length_controlled=board.is_length_controlled,
        groups=_groups(board, asked.reference),
        without_votes=list(board.alone),
        votes=counts.votes,
        prompts=board.prompts,
        judgments_of_people=counts.people,
        judgments_of_judges=counts.judges,
        same_source=counts.same_source,
        no_preference=counts.no_preference,
        chosen=counts.chosen,
        includes_chosen=report.includes_chosen,
        left_out=counts.left_out,
        categories=[
            SourcesOfCategoryOut(
                category=each.name, votes=each.board.votes, groups=_groups(each.board, "")
            )
            for each in by_category.shown
        ],
    )


def _groups(board: Leaderboard, reference: str) -> list[SourceGroupOut]:
    return [_group(group, reference) for group in board.groups]


def _group(group: ConnectedSources, reference: str) -> SourceGroupOut:
    return SourceGroupOut(
        sources=[
            RankedSourceOut(
                source=source.name,
                best_rank=source.best_rank,
                worst_rank=source.worst_rank,
                win_rate=measure_out(leaderboard_rows.against(group, at, reference)),
                strength=measure_out(source.strength),
                is_enough=source.is_enough,
                wins=source.wins,
                ties=source.ties,
                losses=source.losses,
                prompts=source.prompts,
                mean_length=source.length,
            )
            for at, source in enumerate(group.sources)
        ],
        verdict=leaderboard_view.verdict(group),
        wins=group.wins,
        ties=group.ties,
        winners=group.winners,
        losers=group.losers,
        has_maximum=group.is_limited,
        length_effect=measure_out(group.length_effect),
    )
