"""`audit`: whether the audit log is complete and unchanged."""

from typing import Annotated

import typer

from app.cli.console import emit, fail, say
from app.cli.serve import ready_database
from app.services.people import audit
from app.settings import load

audit_app = typer.Typer(help="Check the audit log.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(audit_app, name="audit")


@audit_app.callback()
def _group() -> None:
    """Check the audit log."""


@audit_app.command("verify")
def verify(
    contains: Annotated[
        str,
        typer.Option(
            help="A hash that this command printed before: its event must still be in the log."
        ),
    ] = "",
) -> None:
    """Check that no event was changed or removed; exit with status 1 if one was.

    The newest events can be removed without a trace in the rest. Keep the printed hash somewhere
    else, and give it with --contains the next time.
    """
    with ready_database(load()).long_reader() as session:
        found = audit.verify(session, contains=contains)
    emit({"events": found.events, "broken_at": found.broken_at, "hash": found.newest_hash})
    if found.broken_at is not None:
        fail(f"event {found.broken_at} was changed, or an event before it was removed")
    if not found.contains:
        fail(f"no event has the hash {contains}: events were removed or replaced since")
    say(f"{found.events:,} events, none changed.")
