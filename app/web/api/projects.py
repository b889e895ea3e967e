"""Projects: create, read, change; their guidelines and members."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from app.errors import NotFound
from app.models import Guidelines, JudgmentKind, Membership, Project, Role, User
from app.services import accounts, projects
from app.services.projects import GuidelinesText
from app.web.deps import AdminAccess, LabelerAccess, LeadAccess, SignedIn

router = APIRouter(prefix="/api/v1/projects", tags=["projects"])


class GuidelinesIn(BaseModel):
    """What labelers are told, in Markdown."""

    rules: str
    edge_cases: str = ""
    body: str = ""
    summary: str = ""


class GuidelinesOut(GuidelinesIn):
    """A published version."""

    version: int
    created_at: datetime


class ProjectIn(BaseModel):
    """A new project."""

    model_config = ConfigDict(extra="forbid")

    name: str
    slug: str | None = None
    description: str = ""
    instruction: str = Field(
        "", description="Joined to every prompt, for the model and for people."
    )
    judgment_kind: JudgmentKind = JudgmentKind.PICK
    k: int = Field(2, description="Completions in a comparison.")
    overlap: int = Field(3, description="Judgments a comparison wants.")
    strength_steps: int = 4
    allow_tie: bool = True
    allow_both_bad: bool = True
    evaluation_rate: float = 0.3
    base_model: str | None = Field(None, description="Path, hub name, or `starter`.")
    guidelines: GuidelinesIn | None = None


class ProjectOut(BaseModel):
    """A project's settings."""

    slug: str
    name: str
    description: str
    instruction: str
    judgment_kind: JudgmentKind
    k: int
    overlap: int
    strength_steps: int
    allow_tie: bool
    allow_both_bad: bool
    gold_rate: float
    repeat_rate: float
    evaluation_rate: float
    is_paused: bool
    base_model: str | None
    created_at: datetime


class MemberIn(BaseModel):
    """Who joins, by e-mail, and as what."""

    email: str
    role: Role = Role.LABELER


class MemberOut(BaseModel):
    """A member; exports and charts show the pseudonym only."""

    user_id: int
    name: str
    pseudonym: str
    role: Role
    is_paused: bool


Changes = Annotated[
    dict[str, Any],
    Body(
        description="Settings to change; what is left out stays.",
        examples=[{"overlap": 5, "allow_tie": False}],
    ),
]


@router.get("")
def list_projects(access: SignedIn) -> list[ProjectOut]:
    """Return the projects you may open."""
    return [_out(project) for project, _ in projects.of_user(access.session, access.user)]


@router.post("", status_code=201)
def create(access: AdminAccess, body: ProjectIn) -> ProjectOut:
    """Make a project; you lead it."""
    options = body.model_dump(exclude={"guidelines"})
    text = GuidelinesText(**body.guidelines.model_dump()) if body.guidelines else None
    made = projects.create(access.session, owner=access.user, guidelines=text, **options)
    return _out(made)


@router.get("/{slug}")
def show(access: LabelerAccess) -> ProjectOut:
    """Return a project's settings."""
    return _out(access.project)


@router.patch("/{slug}")
def edit(access: LeadAccess, changes: Changes) -> ProjectOut:
    """Change settings; comparisons that exist keep the kind and overlap they have."""
    projects.edit(access.session, access.project, changes, actor_id=access.user.id)
    return _out(access.project)


@router.get("/{slug}/guidelines")
def list_guidelines(access: LabelerAccess) -> list[GuidelinesOut]:
    """Return every version, newest first."""
    found = projects.guidelines_history(access.session, access.project.id)
    return [_guidelines_out(each) for each in found]


@router.post("/{slug}/guidelines", status_code=201)
def publish_guidelines(access: LeadAccess, body: GuidelinesIn) -> GuidelinesOut:
    """Publish the next version; every judgment from now on names it."""
    text = GuidelinesText(**body.model_dump())
    made = projects.publish_guidelines(
        access.session, access.project, text, author_id=access.user.id
    )
    return _guidelines_out(made)


@router.get("/{slug}/members")
def list_members(access: LeadAccess) -> list[MemberOut]:
    """Return the members in the order they joined."""
    found = accounts.members(access.session, access.project.id)
    return [_member_out(each, each.user) for each in found]


@router.post("/{slug}/members", status_code=201)
def add_member(access: LeadAccess, body: MemberIn) -> MemberOut:
    """Make an account a member, or change the role of one who is."""
    email = body.email.strip().lower()
    user = access.session.scalar(select(User).where(User.email == email))
    if user is None:
        raise NotFound(f"there is no account for {email}; invite them instead")
    row = accounts.add_member(
        access.session, access.project.id, user.id, body.role, actor_id=access.user.id
    )
    return _member_out(row, user)


def _out(project: Project) -> ProjectOut:
    return ProjectOut.model_validate(project, from_attributes=True)


def _guidelines_out(row: Guidelines) -> GuidelinesOut:
    return GuidelinesOut.model_validate(row, from_attributes=True)


def _member_out(row: Membership, user: User) -> MemberOut:
    return MemberOut(
        user_id=user.id,
        name=user.name,
        pseudonym=row.pseudonym,
        role=Role(row.role),
        is_paused=row.is_paused,
    )
