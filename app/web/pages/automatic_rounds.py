"""Automatic rounds: after how many new judgments the next round starts, the limits, and pauses."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Form, Request, Response
from pydantic import BaseModel

from app.domain.automatic_rounds import AutomaticSettings
from app.errors import AttuneError
from app.services.rounds import automatic_rounds, next_plan
from app.services.rounds.automatic_rounds import AutomaticStatus
from app.web import addresses, automatic_words
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render

router = addresses.page_router()


class PlanChoice(StrEnum):
    """Which plan the rounds take."""

    LAST = "last"  # that of the round before, with what remedies changed
    KEPT = "kept"  # the one that is kept already
    KEEP_LAST = "keep_last"  # that of the last round, as it is now


class AutomaticForm(BaseModel):
    """The settings as the form sends them."""

    is_on: bool = False
    judgments: int = 500
    most_in_row: int = 3
    hours_between: float = 24.0
    promotes: bool = False
    plan: PlanChoice = PlanChoice.LAST

    @classmethod
    def of(cls, status: AutomaticStatus) -> "AutomaticForm":
        """Return the form for the settings in force."""
        settings = status.settings
        return cls(
            is_on=status.is_on,
            judgments=settings.judgments,
            most_in_row=settings.most_in_row,
            hours_between=settings.hours_between,
            promotes=settings.promotes,
            plan=PlanChoice.LAST if status.kept_plan is None else PlanChoice.KEPT,
        )

    def settings(self) -> AutomaticSettings:
        """Return the settings; Invalid if a number is out of range."""
        return AutomaticSettings(
            self.judgments, self.most_in_row, self.hours_between, self.promotes
        )


@dataclass(frozen=True, slots=True)
class AutomaticPage:
    """What the next round waits for, and the settings or those of a form that was rejected."""

    status: AutomaticStatus
    form: AutomaticForm
    has_rounds: bool
    error: str = ""

    @property
    def sentence(self) -> str:
        """What the next round waits for, in words."""
        return automatic_words.sentence(self.status)

    @property
    def can_resume(self) -> bool:
        """Whether there is something to resume after."""
        return automatic_words.can_resume(self.status)

    @property
    def plans(self) -> list[tuple[str, str]]:
        """The plans to choose from."""
        plans = [(str(PlanChoice.LAST), "The plan of the round before")]
        if self.status.kept_plan is not None:
            plans.append((str(PlanChoice.KEPT), "The plan that is kept"))
        if self.has_rounds:
            number = self.status.next_number - 1
            plans.append((str(PlanChoice.KEEP_LAST), f"Keep the plan of round {number} as it is"))
        return plans


@router.get("/p/{slug}/settings/automatic-rounds")
def show(request: Request, access: LeadAccess) -> Response:
    """Show the settings and what the next round waits for."""
    return render(request, "automatic_rounds/page.html", _page(access))


@router.post("/p/{slug}/settings/automatic-rounds")
def save(request: Request, access: LeadAccess, form: Annotated[AutomaticForm, Form()]) -> Response:
    """Save the settings."""

    def change() -> None:
        automatic_rounds.save(
            access.session,
            access.project,
            form.settings(),
            is_on=form.is_on,
            plan=_plan(access, form.plan),
            actor_id=access.user.id,
        )

    return _act(request, access, change, "Saved.", form)


@router.post("/p/{slug}/settings/automatic-rounds/pause")
def pause(request: Request, access: LeadAccess, reason: Annotated[str, Form()] = "") -> Response:
    """Start no rounds automatically until somebody resumes."""

    def change() -> None:
        automatic_rounds.pause(
            access.session, access.project, reason=reason, actor_id=access.user.id
        )

    return _act(request, access, change, "No round starts automatically until you resume.")


@router.post("/p/{slug}/settings/automatic-rounds/resume")
def resume(request: Request, access: LeadAccess) -> Response:
    """Go on after a pause."""

    def change() -> None:
        automatic_rounds.resume(access.session, access.project, actor_id=access.user.id)

    return _act(request, access, change, "Rounds start automatically again.")


def _act(
    request: Request,
    access: ProjectAccess,
    change: Callable[[], None],
    notice: str,
    form: AutomaticForm | None = None,
) -> Response:
    try:
        with access.session.begin_nested():
            change()
    except AttuneError as error:
        page = _page(access, form, str(error))
        return render(request, "automatic_rounds/page.html", page, status=422)
    url = addresses.path("automatic_rounds.show", slug=access.project.slug)
    return redirect(request, url, notice=notice)


def _plan(access: ProjectAccess, choice: PlanChoice) -> dict[str, Any] | None:
    """Return the plan to keep; None for that of the round before."""
    if choice is PlanChoice.LAST:
        return None
    if choice is PlanChoice.KEEP_LAST:
        return next_plan.of_last(access.session, access.project.id)
    row = automatic_rounds.of_project(access.session, access.project.id)
    return row.plan if row is not None else None


def _page(
    access: ProjectAccess, form: AutomaticForm | None = None, error: str = ""
) -> AutomaticPage:
    status = automatic_rounds.status(access.session, access.project)
    return AutomaticPage(status, form or AutomaticForm.of(status), status.next_number > 1, error)
