"""What the viewer may go to, for the command palette of the pages."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.services.project import projects
from app.web import commands
from app.web.deps import SignedIn
from app.web.guarded_route import GuardedRoute

router = APIRouter(prefix="/api/v1", tags=["pages"], route_class=GuardedRoute)


class CommandOut(BaseModel):
    """A place to go to."""

    group: str
    label: str
    address: Annotated[str, Field(description="The path of the page.")]
    detail: str


class CommandsOut(BaseModel):
    """Everything the viewer may go to, in order."""

    commands: list[CommandOut]
    left_off: Annotated[int, Field(description="How many further projects there are.")]


@router.get("/commands")
def list_commands(
    access: SignedIn,
    project: Annotated[str | None, Query(description="Add the pages of this project.")] = None,
) -> CommandsOut:
    """Return the projects, pages and actions that the viewer may open."""
    own = projects.of_user(access.session, access.user)
    return CommandsOut.model_validate(commands.of(access.user, own, project), from_attributes=True)
