"""A project's settings: the task, its criteria, what is mixed in, and the prompt splits."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Form, Request, Response
from pydantic import BaseModel

from app.domain.goals import Goal
from app.domain.judgment_kinds import JudgmentKind
from app.domain.splits import Shares
from app.errors import AttuneError, Invalid, NotFound
from app.models import Checkpoint, CheckpointKind, Criterion, Project
from app.services.checkpoints import base_models, checkpoints
from app.services.checkpoints.base_models import ChosenBase
from app.services.project import criteria, instructions, projects, prompts
from app.services.project.instructions import InstructionUse
from app.services.queue import practice_standing
from app.services.rounds import automatic_rounds, round_progress
from app.web import addresses, automatic_words, goal_words, pass_mark_words
from app.web.deps import LeadAccess, ProjectAccess, allowed_models
from app.web.pages.projects import ProjectForm
from app.web.render import redirect, render

router = addresses.page_router()


class CriteriaForm(BaseModel):
    """The criteria, one list per column; a row without a name is ignored."""

    name: list[str] = []
    help: list[str] = []
    weight: list[float] = []
    place: list[float] = []
    use: list[bool] = []

    def given(self) -> list[criteria.CriterionSettings]:
        """Return the criteria in the order of their places.

        Raises:
            Invalid: a row lacks a column.
        """
        columns = {name: len(getattr(self, name)) for name in type(self).model_fields}
        if len(set(columns.values())) > 1:
            counts = ", ".join(f"{name} {count}" for name, count in columns.items())
            raise Invalid(f"each criterion has one value in every column, not {counts}")
        rows = zip(self.name, self.help, self.weight, self.place, self.use, strict=True)
        named = [row for row in rows if row[0].strip()]
        return [
            criteria.CriterionSettings(name, help_, weight, is_active)
            for name, help_, weight, _, is_active in sorted(named, key=lambda row: row[3])
        ]


class MixForm(BaseModel):
    """The percentages of other comparisons that are mixed in, and the pass mark."""

    gold_percent: float = 0
    repeat_percent: float = 0
    evaluation_percent: float = 30
    practice_pass_percent: float | None = None

    def changes(self) -> dict[str, Any]:
        """Return the settings of the project by name."""
        practice = self.practice_pass_percent
        return {
            "gold_rate": self.gold_percent / 100,
            "repeat_rate": self.repeat_percent / 100,
            "evaluation_rate": self.evaluation_percent / 100,
            "practice_pass_share": None if practice is None else practice / 100,
        }


@dataclass(frozen=True, slots=True)
class SettingsPage:
    """The settings, or those of a form that was rejected."""

    project: Project
    form: ProjectForm
    shares: Shares
    has_prompts: bool
    criteria: list[Criterion]
    uses: dict[int, InstructionUse]
    base: ChosenBase | None
    trained: Checkpoint | None
    automatic: str  # what the next automatic round waits for
    pass_mark: str  # what it does, or would do
    error: str = ""

    @property
    def has_criteria(self) -> bool:
        """Whether the criteria of ratings are shown: labelers rate, or there are some already."""
        return self.project.judgment_kind == JudgmentKind.RATE or bool(self.criteria)

    @property
    def contents(self) -> list[tuple[str, str]]:
        """The sections that are shown, each by its id and title."""
        trains = self.project.trains
        labeling = "Labeling is paused" if self.project.is_paused else "Labeling is open"
        sections = [
            ("project", "Project", True),
            ("base", "Base model", trains and self.base is not None),
            ("criteria", "Criteria", self.has_criteria),
            ("queue", "Mixed into the queue", True),
            ("splits", "Prompt splits", True),
            ("labeling", labeling, True),
            ("automatic", "Automatic rounds", trains),
        ]
        return [(name, title) for name, title, is_shown in sections if is_shown]

    @property
    def evaluation_note(self) -> str:
        """Whether labelers can tell an evaluation from the project's other comparisons."""
        kind = self.project.judgment_kind
        if kind == JudgmentKind.RANK and self.project.k > 2:
            return (
                "They look like any other ranking of two responses; the others have up to "
                f"{self.project.k}. Labelers cannot tell which policy wrote which response."
            )
        if kind in (JudgmentKind.PICK, JudgmentKind.RANK):
            return "They look like any other comparison."
        return (
            "Labelers pick the better of two responses in them, so they can tell an evaluation "
            "from this project’s other comparisons, but not which policy wrote which response."
        )

    @property
    def live_url(self) -> str:
        """The address of the part on the base model, which refreshes itself."""
        return addresses.path("settings.show_base_model", slug=self.project.slug)

    @property
    def base_note(self) -> str:
        """What a change of the base model does not change."""
        if self.trained is None:
            return ""
        return (
            f"Rounds continue from {self.trained.name}, which has a base model already; another "
            "base model needs a new project."
        )

    @property
    def instruction_note(self) -> str:
        """The version of the instruction, and what a change means for what was made under it."""
        version = self.project.instruction_version
        use = self.uses.get(version, InstructionUse())
        if not use:
            return f"Version {version}; nothing has been made under it yet."
        return (
            f"Version {version}: {use.words} were made under it and keep it. A change becomes "
            f"version {version + 1}, which all later ones are made under."
        )


@router.get("/p/{slug}/settings")
def show(request: Request, access: LeadAccess) -> Response:
    """Show the settings."""
    return render(request, "settings/page.html", _page(access))


@router.post("/p/{slug}/settings")
def save(request: Request, access: LeadAccess, form: Annotated[ProjectForm, Form()]) -> Response:
    """Change the task; existing comparisons keep their kind."""

    def change() -> None:
        _edit(access, form.changes())
        base_models.choose(
            access.session, access.project, allowed_models(request), actor_id=access.user.id
        )

    return _answer(request, access, change, form)


@router.get("/p/{slug}/settings/base-model")
def show_base_model(request: Request, access: LeadAccess) -> Response:
    """Return the part on the base model, which refreshes itself while the model is checked."""
    page = _page(access)
    if page.base is None:
        raise NotFound(f"there is no base model in {access.project.name} to show")
    return render(request, "settings/_base_model.html", page, fragment=True)


@router.post("/p/{slug}/settings/base-model/check")
def check_base_model(request: Request, access: LeadAccess) -> Response:
    """Have the base model checked again."""
    base = base_models.in_use(access.session, access.project)
    if base is None:
        raise NotFound(f"{access.project.name} has no base model that could be checked")
    base_models.check_again(access.session, base.checkpoint, actor_id=access.user.id)
    url = addresses.path("settings.show", slug=access.project.slug)
    return redirect(request, f"{url}#base", notice=f"{base.name} is being checked.")


@router.post("/p/{slug}/settings/mix")
def save_mix(request: Request, access: LeadAccess, form: Annotated[MixForm, Form()]) -> Response:
    """Change what is mixed in, and the pass mark of practice."""
    before = access.project.practice_pass_share
    answer = _answer(request, access, lambda: _edit(access, form.changes()))
    if answer.status_code != 303 or access.project.practice_pass_share in (None, before):
        return answer
    mark = practice_standing.pass_mark(access.session, access.project)
    url = addresses.path("settings.show", slug=access.project.slug)
    return redirect(request, url, notice=f"Saved. {pass_mark_words.sentence(mark)}")


@router.post("/p/{slug}/settings/criteria")
def save_criteria(
    request: Request, access: LeadAccess, form: Annotated[CriteriaForm, Form()]
) -> Response:
    """Change the criteria that responses are rated on, and their order."""

    def change() -> None:
        criteria.arrange(access.session, access.project, form.given(), actor_id=access.user.id)

    return _answer(request, access, change)


@router.post("/p/{slug}/settings/splits")
def save_splits(
    request: Request,
    access: LeadAccess,
    train: Annotated[int, Form()],
    validation: Annotated[int, Form()],
    test: Annotated[int, Form()],
) -> Response:
    """Set the shares of the prompt splits, before the first prompt."""

    def change() -> None:
        prompts.set_shares(access.session, access.project, Shares(train, validation, test))

    return _answer(request, access, change)


@router.post("/p/{slug}/settings/pause")
def pause(request: Request, access: LeadAccess, paused: Annotated[bool, Form()]) -> Response:
    """Pause or resume labeling."""
    return _answer(request, access, lambda: _edit(access, {"is_paused": paused}))


def _edit(access: ProjectAccess, changes: dict[str, Any]) -> None:
    projects.edit(access.session, access.project, changes, actor_id=access.user.id)


def _answer(
    request: Request, access: ProjectAccess, change: Any, form: ProjectForm | None = None
) -> Response:
    before, goal = access.project.instruction_version, Goal(access.project.goal)
    try:
        with access.session.begin_nested():
            change()
            access.session.flush()
    except AttuneError as error:
        access.session.refresh(access.project)
        page = _page(access, form, str(error))
        return render(request, "settings/page.html", page, status=422)
    notice = _notice(access, before) + _of_goal(access, goal)
    url = addresses.path("settings.show", slug=access.project.slug)
    return redirect(request, url, notice=notice)


def _notice(access: ProjectAccess, before: int) -> str:
    """Return what follows from a change."""
    version = access.project.instruction_version
    if version == before:
        return "Saved."
    use = instructions.uses(access.session, access.project.id).get(before, InstructionUse())
    notice = (
        f"Saved. The instruction is now version {version}; {use.words} were made under version "
        f"{before} and keep it. Later ones are made under version {version}."
    )
    live = round_progress.current(access.session, access.project.id)
    if live is None:
        return notice
    return f"{notice} Round {live.number} is running: the stages that it has yet to start use it."


def _of_goal(access: ProjectAccess, before: Goal) -> str:
    """Return what a change of the goal leaves going on, which pages no longer lead to."""
    project = access.project
    if project.goal == before:
        return ""
    notice = f" The goal is now “{goal_words.title(Goal(project.goal))}”."
    if project.trains:
        return notice
    live = round_progress.current(access.session, project.id)
    if live is not None:
        notice += f" Round {live.number} continues; the overview leads to it."
    if automatic_rounds.status(access.session, project).is_on:
        notice += " Automatic rounds are still on; the overview leads to them."
    return notice


def _trained(access: ProjectAccess) -> Checkpoint | None:
    """Return the model that rounds continue from, unless it is a base model."""
    policy = checkpoints.current_policy(access.session, access.project)
    return policy if policy is not None and policy.kind != CheckpointKind.BASE else None


def _page(access: ProjectAccess, form: ProjectForm | None = None, error: str = "") -> SettingsPage:
    counts = prompts.counts(access.session, access.project.id)
    return SettingsPage(
        access.project,
        form or ProjectForm.of(access.project),
        prompts.shares_of(access.project),
        sum(counts.values()) > 0,
        criteria.of_project(access.session, access.project.id),
        instructions.uses(access.session, access.project.id),
        base_models.in_use(access.session, access.project),
        _trained(access),
        automatic_words.sentence(automatic_rounds.status(access.session, access.project)),
        pass_mark_words.sentence(practice_standing.pass_mark(access.session, access.project)),
        error,
    )
