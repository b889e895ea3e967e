"""`attune`: one command for people and machines.

Commands of this package are thin; the worker adds its own through the entry-point group
`attune.commands`, so that the web side installs without torch.
"""

from importlib.metadata import entry_points

import typer

from app.cli import accounts, bench, data, demo, doctor, serve, simulate
from app.cli.console import fail
from app.client import RequestRefused
from app.errors import AttuneError

app = typer.Typer(
    name="attune",
    help="Human preference labeling that closes the loop.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (serve, demo, data, simulate, accounts, doctor, bench):
    module.register(app)
for entry_point in entry_points(group="attune.commands"):
    try:
        entry_point.load()(app)
    except ModuleNotFoundError as missing:
        # Without the extra `worker` its commands are absent; anything else is a defect.
        if (missing.name or "").split(".")[0] not in {
            "worker",
            "torch",
            "transformers",
            "peft",
            "fsspec",
        }:
            raise


def main() -> None:
    """Run; a domain error becomes one sentence and status 1."""
    try:
        app()
    except (AttuneError, RequestRefused) as error:
        fail(str(error))


if __name__ == "__main__":
    main()
