"""Automatic rounds: settings, what the next round waits for, pausing and resuming."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.domain.automatic_rounds import AutomaticSettings
from app.services.rounds import automatic_rounds
from app.web import automatic_words
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute

router = APIRouter(
    prefix="/api/v1/projects/{slug}/automatic-rounds", tags=["rounds"], route_class=GuardedRoute
)


class AutomaticIn(BaseModel):
    """After how many new judgments the next round starts, and the limits."""

    is_on: bool
    judgments: int = Field(500, description="New ones for training, 1 to 100,000.")
    most_in_row: int = Field(3, description="Rounds without a person's decision, 1 to 100.")
    hours_between: float = Field(24.0, description="Hours between two launches; 0 for no limit.")
    promotes: bool = Field(
        False, description="Promote a policy whose win rate has its whole interval above 0.5."
    )
    plan: dict[str, Any] | None = Field(
        None, description="The plan to keep; null for that of the round before."
    )


class AutomaticOut(AutomaticIn):
    """The settings, and what the next round waits for.

    `waits_for` is off, paused, labeling_paused, round_open, no_plan, in_row, too_soon or too_few,
    and null if the round is about to start; `sentence` says it in words. `new_judgments` are
    counted up to `judgments`.
    """

    waits_for: str | None
    sentence: str
    next_number: int
    new_judgments: int
    since: str = Field(
        description="What they are newer than: a reward model, or a round without one."
    )
    launched_in_row: int
    not_before: datetime | None
    paused_at: datetime | None
    paused_by: str = Field(description="Empty if a round that needs a person stopped them.")
    pause_reason: str


class AutomaticPauseIn(BaseModel):
    """Why no rounds should start."""

    reason: str = ""


@router.get("")
def show(access: LeadAccess) -> AutomaticOut:
    """Return the settings, and what the next automatic round waits for."""
    return _out(access)


@router.put("")
def save(access: LeadAccess, body: AutomaticIn) -> AutomaticOut:
    """Set when rounds start automatically; omitted settings have their defaults."""
    settings = AutomaticSettings(
        body.judgments, body.most_in_row, body.hours_between, body.promotes
    )
    automatic_rounds.save(
        access.session,
        access.project,
        settings,
        is_on=body.is_on,
        plan=body.plan,
        actor_id=access.user.id,
    )
    return _out(access)


@router.post("/pause")
def pause(access: LeadAccess, body: AutomaticPauseIn) -> AutomaticOut:
    """Start no rounds automatically until somebody resumes."""
    automatic_rounds.pause(
        access.session, access.project, reason=body.reason, actor_id=access.user.id
    )
    return _out(access)


@router.post("/resume")
def resume(access: LeadAccess) -> AutomaticOut:
    """Resume after a pause, or after as many rounds in a row as are allowed."""
    automatic_rounds.resume(access.session, access.project, actor_id=access.user.id)
    return _out(access)


def _out(access: LeadAccess) -> AutomaticOut:
    status = automatic_rounds.status(access.session, access.project)
    return AutomaticOut(
        **asdict(status.settings),
        is_on=status.is_on,
        plan=status.kept_plan,
        waits_for=None if status.blocker is None else str(status.blocker),
        sentence=automatic_words.sentence(status),
        next_number=status.next_number,
        new_judgments=status.judgments,
        since=status.since,
        launched_in_row=status.launched_in_row,
        not_before=status.not_before,
        paused_at=status.paused_at,
        paused_by=status.paused_by,
        pause_reason=status.pause_reason,
    )
