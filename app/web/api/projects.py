"""Projects: creating and editing them, their criteria, guidelines and members."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.domain.goals import Goal
from app.domain.judgment_kinds import JudgmentKind
from app.errors import NotFound
from app.models import Criterion, Guidelines, Instruction, Membership, Project, Role
from app.services.checkpoints import base_models
from app.services.datasets import comparison_requests
from app.services.people import accounts
from app.services.project import criteria, instructions, projects
from app.services.project.instructions import InstructionUse
from app.services.project.projects import GuidelinesText
from app.web.addresses import AddressedRoute
from app.web.deps import AdminAccess, LeadAccess, SignedIn, allowed_models

router = APIRouter(prefix="/api/v1/projects", tags=["projects"], route_class=AddressedRoute)


class ProjectChanges(BaseModel):
    """Settings to change; omitted ones stay the same."""

    name: str | None = None
    description: str | None = None
    goal: Goal | None = Field(
        None,
        description="What the project is for: `collect` preferences, `compare` models, or `train` "
        "in rounds (the default). It decides what pages lead to, not what is possible.",
    )
    instruction: str | None = Field(None, description="Added to every prompt.")
    judgment_kind: JudgmentKind | None = None
    k: int | None = Field(None, description="Completions per comparison.")
    overlap: int | None = Field(None, description="Judgments per comparison.")
    strength_steps: int | None = Field(None, description="0 (off), 2, 3 or 4.")
    allow_tie: bool | None = None
    allow_both_bad: bool | None = None
    rating_max: int | None = Field(None, description="The highest rating, 2 to 9.")
    gold_rate: float | None = None
    repeat_rate: float | None = None
    evaluation_rate: float | None = None
    practice_pass_share: float | None = None
    is_paused: bool | None = None
    base_model: str | None = Field(None, description="A path or hub name, or “starter”.")
    chat: dict[str, Any] | None = Field(
        None,
        description="For chat templates: `system_turns` (fold or refuse), `template_arguments`, "
        "`thought_end`; omitted ones take their defaults.",
    )


class CriterionIn(BaseModel):
    """A criterion that completions are rated on; judgments refer to it by name."""

    name: str
    help: str = Field("", description="Shown to labelers.")
    weight: float = Field(1.0, description="Its weight in the mean rating.")
    is_active: bool = True


class ProjectIn(ProjectChanges):
    """A project to create."""

    name: str
    slug: str | None = Field(None, description="The name in URLs; by default from the name.")
    rules: str = Field("", description="The first guidelines, in Markdown.")
    criteria: list[CriterionIn] = Field([], description="The criteria for ratings, in order.")


class ProjectOut(BaseModel):
    """A project."""

    slug: str
    name: str
    description: str
    goal: Goal
    instruction: str
    instruction_version: int
    judgment_kind: JudgmentKind
    k: int
    overlap: int
    strength_steps: int
    allow_tie: bool
    allow_both_bad: bool
    rating_max: int
    gold_rate: float
    repeat_rate: float
    evaluation_rate: float
    practice_pass_share: float | None
    is_paused: bool
    base_model: str | None
    chat: dict[str, Any]
    sft_checkpoint_id: int | None
    policy_checkpoint_id: int | None
    created_at: datetime


class AskIn(BaseModel):
    """The maximum number of comparisons to create."""

    most: int = Field(500, description=f"1 to {comparison_requests.MOST}.")


class AskedOut(BaseModel):
    """How many comparisons were created, and for how many prompts more could be.

    `left_out` counts the completions that are in a comparison already, up to 10,001.
    """

    made: int
    left: int
    left_out: int


class GuidelinesIn(BaseModel):
    """The next version of the guidelines, in Markdown."""

    rules: str
    edge_cases: str = ""
    body: str = ""
    summary: str = Field("", description="A one-line summary of the changes.")


class GuidelinesOut(GuidelinesIn):
    """A version of the guidelines."""

    version: int
    created_at: datetime


class InstructionOut(BaseModel):
    """A version of the instruction, and what was made under it."""

    version: int
    text: str
    author_id: int | None
    created_at: datetime
    judgments: int
    completions: int


class MemberIn(BaseModel):
    """A user with an account, and their role in the project."""

    email: str
    role: Role = Role.LABELER


class MemberOut(BaseModel):
    """A member; exports contain the pseudonym, not the name."""

    user_id: int
    name: str
    pseudonym: str
    role: Role
    is_paused: bool
    is_simulated: bool


@router.get("")
def list_projects(access: SignedIn) -> list[ProjectOut]:
    """Return the projects that the caller may open."""
    return [_out(project) for project, _ in projects.of_user(access.session, access.user)]


@router.post("", status_code=201)
def create(access: AdminAccess, request: Request, body: ProjectIn) -> ProjectOut:
    """Create a project with the caller as its lead."""
    options = body.model_dump(exclude_unset=True, exclude={"rules", "slug", "criteria"})
    project = projects.create(
        access.session,
        owner=access.user,
        slug=body.slug,
        guidelines=GuidelinesText(rules=body.rules),
        **options,
    )
    _choose(request, access.session, project, access.user.id)
    if body.criteria:
        _arrange(access.session, project, body.criteria, access.user.id)
    return _out(project)


@router.get("/{slug}")
def show(access: LeadAccess) -> ProjectOut:
    """Return a project."""
    return _out(access.project)


@router.patch("/{slug}")
def edit(access: LeadAccess, request: Request, body: ProjectChanges) -> ProjectOut:
    """Change settings; existing comparisons keep their kind.

    Another text of the instruction becomes its next version. Existing judgments and completions
    keep the version that they were made under.
    """
    changes = body.model_dump(exclude_unset=True)
    projects.edit(access.session, access.project, changes, actor_id=access.user.id)
    if "base_model" in changes:
        _choose(request, access.session, access.project, access.user.id)
    return _out(access.project)


@router.get("/{slug}/criteria")
def list_criteria(access: LeadAccess) -> list[CriterionIn]:
    """Return all criteria in order, those in use first."""
    return _criteria(criteria.of_project(access.session, access.project.id))


@router.put("/{slug}/criteria")
def arrange(access: LeadAccess, body: list[CriterionIn]) -> list[CriterionIn]:
    """Replace the criteria, in this order.

    An omitted criterion is deleted, or only taken out of use if it has ratings.
    """
    return _arrange(access.session, access.project, body, access.user.id)


@router.post("/{slug}/comparisons", status_code=201)
def ask(access: LeadAccess, body: AskIn) -> AskedOut:
    """Create comparisons for existing prompts or completions that have none.

    They are of the project's kind. Prompts of the evaluation are left out.
    """
    made = comparison_requests.ask(
        access.session, access.project, most=body.most, actor_id=access.user.id
    )
    return AskedOut(made=made.made, left=made.left, left_out=made.left_out)


@router.get("/{slug}/guidelines")
def guidelines(
    access: LeadAccess,
    version: Annotated[int | None, Query(description="The newest by default.")] = None,
) -> GuidelinesOut:
    """Return a version of the guidelines."""
    return _guidelines(projects.guidelines(access.session, access.project.id, version))


@router.post("/{slug}/guidelines", status_code=201)
def publish(access: LeadAccess, body: GuidelinesIn) -> GuidelinesOut:
    """Publish the next version, which all later judgments refer to."""
    text = GuidelinesText(body.rules, body.edge_cases, body.body, body.summary)
    row = projects.publish_guidelines(
        access.session, access.project, text, author_id=access.user.id
    )
    return _guidelines(row)


@router.get("/{slug}/instructions")
def list_instructions(access: LeadAccess) -> list[InstructionOut]:
    """Return every version of the instruction, newest first, with what was made under it."""
    uses = instructions.uses(access.session, access.project.id)
    rows = instructions.history(access.session, access.project.id)
    return [_instruction(row, uses.get(row.version, InstructionUse())) for row in rows]


@router.get("/{slug}/members")
def members(access: LeadAccess) -> list[MemberOut]:
    """Return the members, in the order they joined."""
    return [_member(row) for row in accounts.members(access.session, access.project.id)]


@router.put("/{slug}/members")
def set_member(access: LeadAccess, body: MemberIn) -> list[MemberOut]:
    """Add a user who has an account, or change their role."""
    user = accounts.user_by_email(access.session, body.email)
    if user is None:
        raise NotFound(f"there is no account with the e-mail {body.email!r}")
    accounts.add_member(
        access.session, access.project.id, user.id, body.role, actor_id=access.user.id
    )
    return [_member(row) for row in accounts.members(access.session, access.project.id)]


def _choose(request: Request, session: Session, project: Project, actor_id: int) -> None:
    base_models.choose(session, project, allowed_models(request), actor_id=actor_id)


def _out(project: Project) -> ProjectOut:
    return ProjectOut.model_validate(project, from_attributes=True)


def _arrange(
    session: Session, project: Project, wanted: list[CriterionIn], actor_id: int
) -> list[CriterionIn]:
    settings = [
        criteria.CriterionSettings(
            criterion.name, criterion.help, criterion.weight, criterion.is_active
        )
        for criterion in wanted
    ]
    return _criteria(criteria.arrange(session, project, settings, actor_id=actor_id))


def _criteria(rows: list[Criterion]) -> list[CriterionIn]:
    return [CriterionIn.model_validate(row, from_attributes=True) for row in rows]


def _guidelines(row: Guidelines) -> GuidelinesOut:
    return GuidelinesOut.model_validate(row, from_attributes=True)


def _instruction(row: Instruction, use: InstructionUse) -> InstructionOut:
    return InstructionOut(
        version=row.version,
        text=row.text,
        author_id=row.author_id,
        created_at=row.created_at,
        judgments=use.judgments,
        completions=use.completions,
    )


def _member(row: Membership) -> MemberOut:
    return MemberOut(
        user_id=row.user_id,
        name=row.user.name,
        pseudonym=row.pseudonym,
        role=row.role,
        is_paused=row.is_paused,
        is_simulated=row.user.is_simulated,
    )
