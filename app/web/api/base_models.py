"""The base model that a project's rounds build on, and what a worker's check of it found."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.errors import NotFound
from app.services.checkpoints import base_models
from app.services.checkpoints.base_models import ChosenBase
from app.web.addresses import AddressedRoute
from app.web.deps import LeadAccess, ProjectAccess

router = APIRouter(
    prefix="/api/v1/projects/{slug}/base-model", tags=["checkpoints"], route_class=AddressedRoute
)


class BaseModelOut(BaseModel):
    """A base model: whether it can be used, and everything that its check found.

    `state` is unchecked, checking, ready, refused or failed; the last is a check that could not be
    done. `refusal` may be that of the check before while another is under way.
    """

    checkpoint_id: int
    name: str
    state: str
    refusal: str
    error: str
    job_id: int | None
    facts: dict[str, str]
    remarks: list[str]
    found: dict[str, Any]


@router.get("")
def show(access: LeadAccess) -> BaseModelOut:
    """Return the base model that rounds build on, with the state of its check."""
    return _out(_base(access))


@router.post("/check", status_code=202)
def check(access: LeadAccess) -> BaseModelOut:
    """Have the base model checked again."""
    row = _base(access).checkpoint
    base_models.check_again(access.session, row, actor_id=access.user.id)
    return _out(base_models.of(access.session, row))


def _base(access: ProjectAccess) -> ChosenBase:
    base = base_models.in_use(access.session, access.project)
    if base is None:
        raise NotFound(f"there is no base model in {access.project.name} to check")
    return base


def _out(base: ChosenBase) -> BaseModelOut:
    return BaseModelOut(
        checkpoint_id=base.checkpoint.id,
        name=base.name,
        state=base.state,
        refusal=base.refusal,
        error=base.error,
        job_id=None if base.job is None else base.job.id,
        facts=base.found.facts if base.found else {},
        remarks=list(base.found.remarks) if base.found else [],
        found=base.checkpoint.config.get(base_models.CHECK, {}),
    )
