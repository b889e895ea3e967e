"""`doctor`: checks of this installation, with remedies for problems."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli import checkups
from app.cli.checkups import Finding
from app.cli.console import emit, err
from app.errors import AttuneError
from app.settings import load


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the installation; exit with status 1 if a check fails."""
    findings = list(examine())
    if as_json:
        emit({"findings": [asdict(finding) for finding in findings]})
    else:
        marks = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]✗[/red]"}
        for finding in findings:
            err.print(f"{marks[finding.state]} {finding.name:<12}", end=" ")
            err.print(finding.message, markup=False)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Run all checks; nothing is created or changed."""
    try:
        settings = load(prepares=False)
    except AttuneError as error:
        yield Finding("settings", "fail", str(error))
        return
    yield Finding("settings", "ok", "all ATTUNE_ variables are known")
    yield from checkups.of(settings, os.environ)
