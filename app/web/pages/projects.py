"""Creating a project; the home page lists the projects."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Form, Query, Request, Response
from pydantic import BaseModel

from app.domain import chat_settings, goals
from app.domain.chat_settings import ChatSettings, SystemTurns
from app.domain.goals import Goal
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.domain.plan import STARTER
from app.errors import AttuneError
from app.models import Project
from app.services.checkpoints import base_models
from app.services.project import criteria, projects
from app.services.project.projects import GuidelinesText
from app.web import addresses
from app.web.deps import AdminAccess, allowed_models
from app.web.render import redirect, render

router = addresses.page_router()


CHAT = frozenset({"system_turns", "template_arguments", "thought_end"})
CRITERIA = """\
helpfulness: Does it do what was asked?
correctness: Is what it says true?
harmlessness: Could it hurt anyone?
"""


class ProjectForm(BaseModel):
    """The settings of a project; a checkbox that is not sent is off."""

    name: str = ""
    description: str = ""
    goal: Goal | None = None  # None: as it is; of a new project, the default
    instruction: str = ""
    judgment_kind: JudgmentKind = JudgmentKind.PICK
    k: int = 2
    overlap: int = 3
    strength_steps: int = 0
    allow_tie: bool = False
    allow_both_bad: bool = False
    rating_max: int = 5
    base_model: str = ""
    system_turns: SystemTurns = SystemTurns.FOLD
    template_arguments: str = ""  # JSON
    thought_end: str = ""

    def changes(self) -> dict[str, Any]:
        """Return the settings of the project by name."""
        settings: dict[str, Any] = self.model_dump(include=set(ProjectForm.model_fields) - CHAT)
        settings["name"] = self.name.strip()[:120]
        if self.goal is None:
            del settings["goal"]
        kind = KINDS[self.judgment_kind]
        if kind.fewest == kind.most:  # the kind fixes the number
            settings["k"] = kind.most
        chat = {
            "system_turns": self.system_turns,
            "template_arguments": chat_settings.read_arguments(self.template_arguments.strip()),
            "thought_end": self.thought_end.strip(),
        }
        return settings | {"base_model": self.base_model.strip() or None, "chat": chat}

    @classmethod
    def of(cls, project: Project) -> "ProjectForm":
        """Return the form filled in from a project."""
        names = set(cls.model_fields) - {"base_model"} - CHAT
        values = {name: getattr(project, name) for name in names}
        chat = ChatSettings.from_json(project.chat)
        arguments = json.dumps(chat.template_arguments) if chat.template_arguments else ""
        return cls(
            base_model=project.base_model or "",
            system_turns=chat.system_turns,
            template_arguments=arguments,
            thought_end=chat.thought_end,
            **values,
        )


class NewProjectForm(ProjectForm):
    """A new project, with its first rules and, for ratings, its criteria."""

    strength_steps: int = 3
    rules: str = ""
    criteria_lines: str = ""

    def changes(self) -> dict[str, Any]:
        """Return the settings by name; only a project that trains starts with the usual model."""
        settings = ProjectForm.changes(self)
        if self.goal and not goals.trains(self.goal) and settings["base_model"] == STARTER:
            settings["base_model"] = None  # the form hides what it had filled in
        return settings

    def criteria_given(self) -> list[criteria.CriterionSettings]:
        """Return the criteria: one per line, a name and, after a colon, what to look at."""
        parts = [line.partition(":") for line in self.criteria_lines.splitlines() if line.strip()]
        return [criteria.CriterionSettings(name, help_) for name, _, help_ in parts]


@dataclass(frozen=True, slots=True)
class NewProjectPage:
    """The form, and an error in it."""

    form: NewProjectForm
    error: str = ""


@router.get("/projects/new")
def new(
    request: Request, access: AdminAccess, goal: Annotated[Goal | Literal[""], Query()] = ""
) -> Response:
    """Show the form; an address may name the goal."""
    form = NewProjectForm(
        goal=goal or None,
        allow_tie=True,
        allow_both_bad=True,
        base_model=STARTER,
        criteria_lines=CRITERIA,
    )
    return render(request, "projects/new.html", NewProjectPage(form))


@router.post("/projects/new")
def create(
    request: Request, access: AdminAccess, form: Annotated[NewProjectForm, Form()]
) -> Response:
    """Create the project and make its creator the lead."""
    try:
        options = form.changes()
        with access.session.begin_nested():
            project = projects.create(
                access.session,
                owner=access.user,
                guidelines=GuidelinesText(rules=form.rules),
                **options,
            )
            base_models.choose(
                access.session, project, allowed_models(request), actor_id=access.user.id
            )
            if KINDS[form.judgment_kind].uses_criteria and form.criteria_given():
                criteria.arrange(
                    access.session, project, form.criteria_given(), actor_id=access.user.id
                )
    except AttuneError as error:
        return render(request, "projects/new.html", NewProjectPage(form, str(error)), status=422)
    return redirect(
        request,
        addresses.path("overview.show", slug=project.slug),
        notice=f"{project.name} is ready: import {_first_import(project)} next.",
    )


def _first_import(project: Project) -> str:
    return "prompts" if project.trains else "prompts and responses"
