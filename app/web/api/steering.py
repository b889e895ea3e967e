"""What leads do with a running queue: leases, pauses, priority, overlap, withdrawal."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.domain.assignment import OVERLAP_MOST
from app.services.queue import steering
from app.services.rounds import judging_flow
from app.web.deps import LeadAccess, ProjectAccess

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["steering"])


class PauseIn(BaseModel):
    """Whether a labeler gets no new comparisons."""

    paused: bool


class ReassignIn(BaseModel):
    """Who gets a judgment of the comparison, and whose lease of it ends for that."""

    to_user_id: int
    from_user_id: int | None = None


class PriorityIn(BaseModel):
    """Higher comes first; 0 is the usual one."""

    priority: Annotated[int, Field(ge=-steering.PRIORITY_MOST, le=steering.PRIORITY_MOST)]


class OverlapIn(BaseModel):
    """How many judgments each unfinished comparison shall have."""

    overlap: Annotated[int, Field(ge=1, le=OVERLAP_MOST)]
    round: Annotated[int | None, Field(description="Its number; none: the whole project.")] = None


class LeaseOut(BaseModel):
    """A lease handed to a labeler."""

    assignment_id: int
    expires_at: datetime


class ComparisonState(BaseModel):
    """Where a comparison stands in the queue."""

    comparison_id: int
    overlap: int
    done: int
    open: int
    priority: int
    is_withdrawn: bool


@router.post("/labelers/{user_id}/release")
def release(access: LeadAccess, user_id: int) -> dict[str, int]:
    """Give a labeler's leases back to the queue."""
    released = steering.release(access.session, access.project.id, user_id, actor_id=access.user.id)
    return {"released": released}


@router.post("/labelers/{user_id}/pause")
def pause(access: LeadAccess, user_id: int, given: PauseIn) -> PauseIn:
    """Give a labeler no new comparisons, or let them go on."""
    member = steering.pause(
        access.session,
        access.project.id,
        user_id,
        is_paused=given.paused,
        actor_id=access.user.id,
    )
    return PauseIn(paused=member.is_paused)


@router.post("/comparisons/{comparison_id}/reassign")
def reassign(access: LeadAccess, comparison_id: int, given: ReassignIn) -> LeaseOut:
    """Hand a judgment to a labeler, for a day; it comes first on their page."""
    assignment = steering.reassign(
        access.session,
        access.secret,
        access.project,
        comparison_id,
        to_user_id=given.to_user_id,
        from_user_id=given.from_user_id,
        actor_id=access.user.id,
    )
    return LeaseOut(assignment_id=assignment.id, expires_at=assignment.expires_at)


@router.put("/comparisons/{comparison_id}/priority")
def set_priority(access: LeadAccess, comparison_id: int, given: PriorityIn) -> ComparisonState:
    """Let a comparison come before those of lower priority."""
    steering.set_priority(
        access.session,
        access.project.id,
        comparison_id,
        given.priority,
        actor_id=access.user.id,
    )
    return _state(access, comparison_id)


@router.put("/comparisons/{comparison_id}/withdrawal")
def withdraw(access: LeadAccess, comparison_id: int) -> ComparisonState:
    """Take a comparison out of the queue; its judgments no longer count."""
    judging_flow.withdraw(access.session, access.project.id, comparison_id, actor_id=access.user.id)
    return _state(access, comparison_id)


@router.delete("/comparisons/{comparison_id}/withdrawal")
def restore(access: LeadAccess, comparison_id: int) -> ComparisonState:
    """Put a withdrawn comparison back; its judgments count again."""
    steering.restore(access.session, access.project.id, comparison_id, actor_id=access.user.id)
    return _state(access, comparison_id)


@router.post("/overlap")
def set_overlap(access: LeadAccess, given: OverlapIn) -> dict[str, int]:
    """Ask for another number of judgments; those given and being given stay."""
    changed = judging_flow.set_overlap(
        access.session,
        access.project.id,
        given.overlap,
        round_number=given.round,
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
