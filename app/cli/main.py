"""`attune`: one command for people and machines.

A command's module is imported when the command runs, so that `attune train` works where the web
side's packages are not installed, and the web side where torch is not. The worker's commands join
through the entry-point group `attune.commands`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from app import logs, parent_process
from app.cli.console import fail
from app.errors import AttuneError, Unavailable

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "up": ("app.cli.serve", "Serve the web application with workers beside it."),
    "serve": ("app.cli.serve", "Serve the web application."),
    "migrate": ("app.cli.serve", "Bring the database to the newest tables."),
    "figures": ("app.cli.figures", "Keep figures of large projects fresh; `serve` does it itself."),
    "demo": ("app.cli.demo", "Run one whole loop that you can watch in the browser."),
    "import": ("app.cli.data", "Import prompts, demonstrations, completions or preferences."),
    "open": ("app.cli.open_page", "Open a page in the browser; starts no server."),
    "export": ("app.cli.data", "Export a data set with its manifest."),
    "list": ("app.cli.rows", "List a project's rows or its leaderboard as JSON Lines."),
    "tag": ("app.cli.rows", "Tag prompts or set their category, many at once."),
    "project": ("app.cli.projects", "Create projects and change their goals."),
    "round": ("app.cli.rounds", "Compare the choices of a launch, and launch a round."),
    "judge": ("app.cli.judge", "Compare AI judges with people, and let them label."),
    "simulate": ("app.cli.simulate", "Attach simulated labelers with a known utility."),
    "user": ("app.cli.accounts", "Manage accounts."),
    "token": ("app.cli.accounts", "Manage API tokens."),
    "audit": ("app.cli.audit", "Check that the audit log is complete and unchanged."),
    "backup": ("app.cli.backup", "Back up the database and the artifacts while people work."),
    "restore": ("app.cli.backup", "Restore an installation from a backup, or verify one."),
    "upgrade": ("app.cli.upgrade", "Check, back up, migrate and verify; --back undoes it."),
    "doctor": ("app.cli.doctor", "Check this installation."),
    "bench": ("app.cli.bench", "Measure speed and memory on this machine."),
}
"""The product's own commands: the module that registers each, and its line in the help."""
_TRAINING: Final = ("accelerate", "fsspec", "peft", "safetensors", "torch", "transformers")
EXTRAS: Final[Mapping[str, str]] = dict.fromkeys(_TRAINING, "worker")
"""The extra that installs a package; packages not named come with Attune itself."""


@dataclass(frozen=True, slots=True)
class CommandSource:
    """Where a command comes from: a module's `register`."""

    target: str
    help: str = ""

    def load(self) -> TyperGroup:
        """Import the module and return the commands that it registers.

        Raises:
            Unavailable: a package that the command needs is not installed.
        """
        module, _, name = self.target.partition(":")
        app = typer.Typer()
        app.callback()(lambda: None)
        try:
            getattr(import_module(module), name or "register")(app)
        except ModuleNotFoundError as error:
            raise Unavailable(_what_to_install(error)) from error
        group = typer.main.get_command(app)
        assert isinstance(group, TyperGroup)
        return group


class LazyGroup(TyperGroup):
    """Lists commands by a table, and imports the one that is asked for.

    Typer carries a click of its own in some versions and not in others, so its types are not named.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, the product's own first."""
        return list(_sources())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command for the help: its name and its line."""
        sources = _sources().get(cmd_name)
        return None if sources is None else TyperCommand(cmd_name, help=sources[0].help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is asked for."""
        name = args[0]
        sources = _sources().get(name)
        if sources is None:
            return super().resolve_command(ctx, args)
        command = sources[0].load().commands[name]
        for source in sources[1:]:  # a group that several modules add commands to
            more = source.load().commands[name]
            if isinstance(command, TyperGroup) and isinstance(more, TyperGroup):
                command.commands.update(more.commands)
        return name, command, args[1:]


def _what_to_install(error: ModuleNotFoundError) -> str:
    package = _package(error)
    extra = EXTRAS.get(package)
    install = f"attune[{extra}]" if extra else "attune with its dependencies"
    return f"{package} is not installed; install {install}"


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]


def _sources() -> dict[str, list[CommandSource]]:
    """Return where each command comes from; several sources share a group of commands."""
    sources = {name: [CommandSource(module, line)] for name, (module, line) in COMMANDS.items()}
    for entry_point in entry_points(group="attune.commands"):
        name, _, _ = entry_point.name.partition(".")
        sources.setdefault(name, []).append(CommandSource(entry_point.value, _help_of(entry_point)))
    return sources


def _help_of(entry_point: EntryPoint) -> str:
    """Return a command's line in the help, which its package's `HELP` holds."""
    package = entry_point.module.partition(".")[0]
    try:
        lines: Mapping[str, str] = import_module(f"{package}.command_help").HELP
    except ModuleNotFoundError:
        return ""
    return lines.get(entry_point.name, "")


app = typer.Typer(
    name="attune",
    cls=LazyGroup,
    help="Human preference labeling that closes the loop.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def root(
    parent: Annotated[int | None, typer.Option(hidden=True, help="End with this process.")] = None,
) -> None:
    """Human preference labeling that closes the loop."""
    logs.configure("warning")  # to standard error; commands that serve and work choose more
    if parent is not None:
        parent_process.end_with(parent)


def main() -> None:
    """Run; a domain error becomes one sentence and status 1."""
    try:
        app()
    except AttuneError as error:
        fail(str(error))
    except ModuleNotFoundError as error:  # a command imports what is slow to load only as it runs
        if _package(error) not in EXTRAS:
            raise
        fail(_what_to_install(error))


if __name__ == "__main__":
    main()
