"""`models export` and `models push`: a trained model as one folder, or on a hub by name."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.console import emit, say
from worker.commands.watching import Watching, load, refusing

if TYPE_CHECKING:  # what reads tables is imported only for checkpoints of a project
    from worker.training.merged_export import MergedModel


def register(app: typer.Typer) -> None:
    """Add the command to the group `models`."""
    group = typer.Typer(no_args_is_help=True)
    group.callback()(lambda: None)
    group.command("export")(export)
    group.command("push")(push)
    app.add_typer(group, name="models")


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A model folder or the folder of a run; with --project, a checkpoint's name."
        ),
    ],
    merged: Annotated[
        Path, typer.Option("--merged", help="The folder to write: adapters merged into the base.")
    ],
    project: Annotated[
        str | None, typer.Option(help="The project, by its slug, that has the checkpoint.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Merge a model's adapter into its base, in the base's own precision."""
    with refusing(), Watching(as_json=json) as watching:
        watching.say("Loading …")
        exports = load("worker.files.model_exports")
        folder = model if project is None else stored(project, model)
        made: MergedModel = exports.export(
            folder, merged, watching.progress, title="" if project is None else model
        )
    if json:
        emit(made.to_json())
        return
    size = f"{made.bytes / 2**20:,.1f} MiB"
    say(f"The merged {made.kind} is in {made.folder}: {made.dtype}, {size}")


def push(
    model: Annotated[
        str,
        typer.Argument(help="A model folder or the folder of a run; with --project, a checkpoint."),
    ],
    name: Annotated[str, typer.Argument(help="The name on the hub, as in desk/library-policy.")],
    private: Annotated[
        bool, typer.Option("--private", help="Create it readable by you or your group alone.")
    ] = False,
    project: Annotated[
        str | None, typer.Option(help="The project, by its slug, that has the checkpoint.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Upload a model folder as it is to a hub; the token is read from HF_TOKEN."""
    with refusing(), Watching(as_json=json) as watching:
        watching.say("Uploading …")
        folder = model if project is None else stored(project, model)
        url: str = load("worker.training.hub_push").push(
            folder, name, is_private=private, report=watching.progress
        )
    if json:
        emit({"url": url})
        return
    say(f"The model is at {url}")


def stored(project: str, name: str) -> str:
    """Return the folder of a checkpoint of a project in this installation."""
    settings = import_module("app.settings").load()
    store = import_module("worker.artifacts").Artifacts(
        settings.artifacts, settings.data_dir.absolute() / "work" / "cache"
    )
    found = import_module("worker.runs.data.stored_checkpoints")
    return str(found.folder_of(settings.database, store, project, name))
