"""Steering the queue: leases, pauses, priority, overlap and withdrawal."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.domain.assignment import OVERLAP_MOST
from app.services.queue import steering
from app.services.rounds import judging_flow
from app.web.deps import LeadAccess, ProjectAccess
from app.web.guarded_route import GuardedRoute
from app.web.row_ids import RowId

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["steering"], route_class=GuardedRoute)


class PauseIn(BaseModel):
    """Whether a labeler is paused."""

    paused: bool


class ReassignIn(BaseModel):
    """The labeler who gets the judgment, and the one whose lease ends for it."""

    to_user_id: int
    from_user_id: int | None = None


class PriorityIn(BaseModel):
    """A priority; higher comes first, and the default is 0."""

    priority: Annotated[int, Field(ge=-steering.PRIORITY_MOST, le=steering.PRIORITY_MOST)]


class OverlapIn(BaseModel):
    """The number of judgments that each unfinished comparison should have."""

    overlap: Annotated[int, Field(ge=1, le=OVERLAP_MOST)]
    round: Annotated[int | None, Field(description="A round; by default, all of the project.")] = (
        None
    )


class LeaseOut(BaseModel):
    """A lease that was assigned to a labeler."""

    assignment_id: int
    expires_at: datetime


class ComparisonState(BaseModel):
    """The state of a comparison in the queue."""

    comparison_id: int
    overlap: int
    done: int
    open: int
    priority: int
    is_withdrawn: bool


@router.post("/labelers/{user_id}/release")
def release(access: LeadAccess, user_id: RowId) -> dict[str, int]:
    """Return a labeler's leases to the queue."""
    released = steering.release(access.session, access.project.id, user_id, actor_id=access.user.id)
    return {"released": released}


@router.post("/labelers/{user_id}/pause")
def pause(access: LeadAccess, user_id: RowId, body: PauseIn) -> PauseIn:
    """Pause or resume a labeler, who gets no new comparisons while paused."""
    member = steering.pause(
        access.session,
        access.project.id,
        user_id,
        is_paused=body.paused,
        actor_id=access.user.id,
    )
    return PauseIn(paused=member.is_paused)


@router.post("/comparisons/{comparison_id}/reassign")
def reassign(access: LeadAccess, comparison_id: RowId, body: ReassignIn) -> LeaseOut:
    """Assign a judgment to a labeler for one day; it comes first on their page."""
    assignment = steering.reassign(
        access.session,
        access.secret,
        access.project,
        comparison_id,
        to_user_id=body.to_user_id,
        from_user_id=body.from_user_id,
        actor_id=access.user.id,
    )
    return LeaseOut(assignment_id=assignment.id, expires_at=assignment.expires_at)


@router.put("/comparisons/{comparison_id}/priority")
def set_priority(access: LeadAccess, comparison_id: RowId, body: PriorityIn) -> ComparisonState:
    """Set the priority of a comparison."""
    steering.set_priority(
        access.session,
        access.project.id,
        comparison_id,
        body.priority,
        actor_id=access.user.id,
    )
    return _state(access, comparison_id)


@router.put("/comparisons/{comparison_id}/withdrawal")
def withdraw(access: LeadAccess, comparison_id: RowId) -> ComparisonState:
    """Withdraw a comparison; its judgments no longer count."""
    judging_flow.withdraw(access.session, access.project.id, comparison_id, actor_id=access.user.id)
    return _state(access, comparison_id)


@router.delete("/comparisons/{comparison_id}/withdrawal")
def restore(access: LeadAccess, comparison_id: RowId) -> ComparisonState:
    """Return a withdrawn comparison to the queue; its judgments count again."""
    steering.restore(access.session, access.project.id, comparison_id, actor_id=access.user.id)
    return _state(access, comparison_id)


@router.post("/overlap")
def set_overlap(access: LeadAccess, body: OverlapIn) -> dict[str, int]:
    """Change the number of judgments wanted; those made or in progress are kept."""
    changed = judging_flow.set_overlap(
        access.session,
        access.project.id,
        body.overlap,
        round_number=body.round,
        actor_id=access.user.id,
    )
    return {"changed": changed}


def _state(access: ProjectAccess, comparison_id: int) -> ComparisonState:
    row = steering.locked(access.session, access.project.id, comparison_id)
    return ComparisonState(
        comparison_id=row.id,
        overlap=row.overlap,
        done=row.done_slots,
        open=row.open_slots,
        priority=row.priority,
        is_withdrawn=row.is_withdrawn,
    )
