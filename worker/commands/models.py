"""`models`: what can be done with a model, before a project is built on it."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.markup import escape

from app.cli.console import emit, out
from app.domain.allowed_models import AllowedModels
from app.domain.checked_model import CheckedModel
from app.settings import Settings
from worker.commands.options import device_of
from worker.commands.watching import FAILED, load, refusing


def register(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(no_args_is_help=True)
    models.callback()(_group)
    models.command()(check)
    app.add_typer(
        models, name="models", help="Check models, export trained ones, and push them to a hub."
    )


def _group() -> None:
    """Check models, export trained ones, and push them to a hub."""


def check(
    model: Annotated[
        str, typer.Argument(help="A model folder, the folder of a run, or a hub name.")
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or another torch device.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell in seconds whether a model can be a base model, and how; loads no weights."""
    with refusing():
        AllowedModels.of(Settings().base_models).check(model)
        location: str = load("worker.training.model_folders").located(model)
        result: CheckedModel = load("worker.training.model_check").check(
            location, device=device_of(device)
        )
    if json:
        emit(result.to_json())
    else:
        for line in lines(result):
            out.print(escape(line), soft_wrap=True)
    if result.refusal is not None:
        raise typer.Exit(FAILED)


def lines(result: CheckedModel) -> Iterator[str]:
    """Yield the report for people, a fact per line."""
    if result.refusal is not None:
        yield f"✗ {result.name} cannot be used: {result.refusal}"
        return
    yield f"✓ {result.name} can be used."
    facts = result.facts
    width = max(map(len, facts)) + 2
    for name, fact in facts.items():
        yield f"  {name + ':':<{width}}{fact}"
    for note in result.remarks:
        yield f"  - {note}"
