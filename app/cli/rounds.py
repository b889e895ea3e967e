"""`round`: the three choices of a launch, and launching a round with one of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from app.cli.console import emit, say
from app.cli.serve import ready_database
from app.domain import launch_sizes
from app.domain.allowed_servers import AllowedServers
from app.domain.launch_choice import ChoiceName
from app.domain.plan import RoundPlan
from app.errors import Invalid
from app.models import Project as ProjectRow
from app.services.project import projects
from app.services.rounds import launch_estimates, launch_plans, readiness, rounds
from app.settings import load

round_app = typer.Typer(
    help="Rounds: what each choice would take, and launching one.", no_args_is_help=True
)

Project = Annotated[str, typer.Argument(help="The project's slug.")]
Choice = Annotated[ChoiceName, typer.Option(help="How much the round does.")]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A setting of the plan instead of the choice's, as name=value; repeatable."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(round_app, name="round")


@round_app.command("choices")
def show_choices(project: Project) -> None:
    """Print what each choice would take in a project, one JSON object a line."""
    with ready_database(load()).reader() as session:
        own = projects.by_slug(session, project)
        data = launch_plans.data_of(session, own)
        plan = launch_sizes.applied(ChoiceName.BALANCED, data)
        for offer in launch_estimates.offers(session, own, data, plan, ChoiceName.BALANCED):
            emit(asdict(offer))


@round_app.command()
def preview(project: Project, choice: Choice = ChoiceName.BALANCED, set: Setting = None) -> None:
    """Print the steps, judgments and estimate of a round without launching it."""
    with ready_database(load()).reader() as session:
        own = projects.by_slug(session, project)
        plan = _plan(session, own, choice, set or ())
        counts = readiness.preview(session, own, plan, launch_plans.data_of(session, own))
        estimate = launch_estimates.of_plan(session, own, plan, counts)
        chosen = "" if plan.choice is None else plan.choice.words
        emit(asdict(counts) | {"choice": chosen, "estimate": asdict(estimate)})


@round_app.command()
def launch(project: Project, choice: Choice = ChoiceName.BALANCED, set: Setting = None) -> None:
    """Launch the next round of a project."""
    settings = load()
    allowed = AllowedServers.of(
        settings.completion_servers, settings.reward_endpoints, settings.judge_servers
    )
    with ready_database(settings).transaction() as session:
        own = projects.by_slug(session, project)
        plan = _plan(session, own, choice, set or ())
        made = rounds.launch(session, own, plan, None, allowed)
        chosen = "" if plan.choice is None else plan.choice.words
        say(f"Round {made.number} has started: {chosen}")
        emit({"round": made.number, "state": made.state, "choice": chosen})


def _plan(
    session: Session, project: ProjectRow, choice: ChoiceName, settings: Sequence[str]
) -> RoundPlan:
    values: dict[str, Any] = {"choice": choice.value}
    for text in settings:
        name, sep, value = text.partition("=")
        if not sep or not name.strip():
            raise Invalid(f"a setting is name=value, not {text!r}")
        *path, last = name.strip().replace("-", "_").split(".")
        place = values
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, Mapping):
                raise Invalid(f"{part} is set as a whole and in part by {text!r}")
        place[last] = _value(value.strip())
    return launch_plans.of_json(session, project, values)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
