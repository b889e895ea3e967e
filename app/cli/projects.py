"""`project`: creating projects and changing their goals from the command line."""

from typing import Annotated

import typer

from app.cli.console import emit, say
from app.cli.serve import ready_database
from app.domain.goals import Goal
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.errors import NotFound
from app.models import Project
from app.services.people import accounts
from app.services.project import projects
from app.settings import load

project_app = typer.Typer(help="Create projects and change their goals.", no_args_is_help=True)

GOALS = "What it is for: collect preferences, compare models, or train in rounds."
GoalOption = Annotated[Goal, typer.Option(help=GOALS)]
Slug = Annotated[str, typer.Argument(help="The project's slug.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(project_app, name="project")


@project_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The project's name.")],
    lead: Annotated[str, typer.Option(help="The email address of the account that leads it.")],
    goal: GoalOption = Goal.TRAIN,
    task: Annotated[
        JudgmentKind, typer.Option(help="What labelers do with responses.")
    ] = JudgmentKind.PICK,
    k: Annotated[
        int | None,
        typer.Option(help="Responses per comparison. By default, the fewest that the task takes."),
    ] = None,
) -> None:
    """Create a project."""
    with ready_database(load()).transaction() as session:
        owner = accounts.user_by_email(session, lead)
        if owner is None:
            raise NotFound(f"there is no account with the email address {lead!r}")
        project = projects.create(
            session,
            name=name,
            owner=owner,
            judgment_kind=task,
            k=KINDS[task].fewest if k is None else k,
            goal=goal,
        )
        _print(project)


@project_app.command("list")
def list_projects() -> None:
    """Print all projects, one JSON object per line."""
    with ready_database(load()).reader() as session:
        for project in projects.listed(session):
            _print(project)


@project_app.command("goal")
def change_goal(
    slug: Slug,
    goal: Annotated[Goal, typer.Argument(help=GOALS)],
) -> None:
    """Change what a project is for; nothing is deleted."""
    with ready_database(load()).transaction() as session:
        project = projects.by_slug(session, slug)
        before = Goal(project.goal)
        projects.edit(session, project, {"goal": goal}, actor_id=None)
        name = project.name
    say(f"{name}: goal {goal}, before {before}.")


def _print(project: Project) -> None:
    emit(
        {
            "slug": project.slug,
            "name": project.name,
            "goal": project.goal,
            "task": project.judgment_kind,
            "k": project.k,
        }
    )
