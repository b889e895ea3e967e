"""`attune demo`: runs one whole loop, after starting everything that it needs."""

import json
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy.orm import Session

from app.cli import processes
from app.cli.console import err
from app.cli.serve import address_of, listen, ready_database
from app.client import Client
from app.db import Database, schema
from app.demo import panel as panels
from app.demo import project, script, taste
from app.demo.plan import DemoPlan
from app.demo.report import DemoReport
from app.demo.script import Panelist, Setup
from app.errors import Invalid, Unavailable
from app.services.people import accounts
from app.services.project import projects
from app.settings import Settings, load
from app.web import transport

START_TIMEOUT_S = 60.0
MOST_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class _People:
    """The participants with their credentials."""

    email: str
    password: str
    token: str
    panel: Sequence[Panelist]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="Exit at the end instead of leaving the server up.")
    ] = False,
    report_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file as JSON.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the prompts, responses and training.")] = 1,
    taste_name: Annotated[
        str,
        typer.Option("--taste", help=f"The panel's hidden taste: {', '.join(taste.names())}."),
    ] = "default",
    rounds: Annotated[
        int,
        typer.Option(
            min=1, max=MOST_ROUNDS, help="Rounds to run; later ones reuse the starter model."
        ),
    ] = 1,
) -> None:
    """Run the whole loop, once or in several rounds, which you can watch in the browser."""
    if taste_name not in taste.names():
        raise Invalid(f"--taste must be one of {', '.join(taste.names())}, not {taste_name!r}")
    settings = load()
    transport.check(settings, settings.host)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    database = _database(settings)
    plan = DemoPlan(rounds=rounds)
    with database.transaction() as session:
        people = _people(session, plan, taste_name, seed)
        slug = projects.free_slug(session, project.NAME)
    listener = listen(settings.host, settings.port, 0)
    url = address_of(listener)
    with listener, _children(settings, listener.fileno()) as children:
        listener.close()  # the web server has its own; when it ends, requests are refused at once
        _wait_until_up(url, children)
        _invite(url, people)
        with Client(url, people.token) as lead, _StageDisplay() as display:
            setup = Setup(
                url, lead, people.panel, taste_name, seed, plan, slug, lambda: _alive(children)
            )
            try:
                report = script.run(setup, display)
            except httpx.TransportError as error:
                raise Unavailable(f"the web server does not respond: {error}") from error
        _show(report, report_file)
        if not leave:
            _stay(url, slug, people, children)


def _database(settings: Settings) -> Database:
    if settings.is_embedded:
        return ready_database(settings)
    database = Database(settings.database)
    schema.upgrade(database.engine)  # the demo sets everything up, whatever the database
    return database


def _people(session: Session, plan: DemoPlan, taste_name: str, seed: int) -> _People:
    """Create or reuse the lead's account, and create a new panel."""
    email, password = "lead@example.org", secrets.token_urlsafe(9)
    lead = accounts.user_by_email(session, email)
    if lead is None:
        lead = accounts.create_user(
            session, email=email, name="Lead", password=password, is_admin=True
        )
    else:
        accounts.set_password(session, lead, password, actor_id=lead.id)
    token = accounts.create_token(session, lead, name="first run", scopes=["admin"])
    run = secrets.token_hex(3)
    panel = []
    for labeler in panels.make(plan, taste_name, seed):
        user = accounts.create_user(
            session,
            email=f"{labeler.name}-{run}@example.org",
            name=labeler.name,
            password=None,
            is_simulated=True,
            actor_id=lead.id,
        )
        credential = accounts.create_token(session, user, name="first run", scopes=["label"])
        panel.append(Panelist(labeler, user.email, credential.secret))
    return _People(email, password, token.secret, panel)


@contextmanager
def _children(settings: Settings, fd: int) -> Iterator[list[processes.Child]]:
    environment = {
        "ATTUNE_SECRET_KEY": settings.secret.decode(),
        "ATTUNE_SECRET_KEY_FILE": "",
        "ATTUNE_LOG_FORMAT": "json",
    }
    logs = settings.data_dir / "logs"
    children: list[processes.Child] = []
    try:
        for name, arguments, inherits in (
            ("web", ["serve", "--fd", str(fd)], [fd]),
            *((name, lane, []) for name, lane in processes.LANES.items()),
        ):
            log = logs / f"{name}.log"
            child = processes.Child(
                name, arguments, environment=environment, log=log, inherits=inherits
            )
            children.append(child)
        yield children
    except Unavailable:
        err.print(f"[dim]Logs are in {escape(str(logs))}[/dim]", soft_wrap=True)
        raise
    finally:
        for child in reversed(children):
            child.stop()


def _wait_until_up(url: str, children: Sequence[processes.Child]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if not _alive(children):
            raise Unavailable("the web server or a worker stopped during startup")
        try:
            if httpx.get(f"{url}/livez", timeout=2.0).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise Unavailable(f"the web server at {url} did not respond within {START_TIMEOUT_S:.0f} s")


def _alive(children: Sequence[processes.Child]) -> bool:
    return all(child.is_running for child in children)


def _invite(url: str, people: _People) -> None:
    err.print()
    err.print(f"  Watch at  [bold]{url}[/bold]")
    err.print(f"  Sign in   [bold]{people.email}[/bold]  password [bold]{people.password}[/bold]")
    err.print()


def _show(report: DemoReport, report_file: Path | None) -> None:
    console = Console(stderr=True, highlight=False)
    console.print()
    console.print(f"[bold]{escape(report.examples.title)}[/bold]")
    for example in report.examples.drawn:
        console.print()
        for line in example.lines():
            console.print(line, soft_wrap=True)
    console.print()
    console.print(report.table())
    for remark in report.remarks():
        console.print(f"[dim]{escape(remark)}[/dim]", soft_wrap=True)
    if report_file is not None:
        report_file.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
        console.print(f"[dim]Results written to {report_file}[/dim]")


def _stay(url: str, slug: str, people: _People, children: Sequence[processes.Child]) -> None:
    err.print()
    err.print(f"  Label the next comparison yourself at [bold]{url}/p/{slug}/label[/bold]")
    err.print(f"  Sign in as {people.email} with password {people.password}")
    err.print("  [dim]Press Ctrl+C to stop.[/dim]")
    try:
        while _alive(children):
            time.sleep(0.5)
    except KeyboardInterrupt:
        err.print()


class _StageDisplay:
    """Shows the stages: progress bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[note]:<26}"),
            TimeElapsedColumn(),
            console=err,
        )
        self._task: TaskID | None = None
        self._is_live = err.is_terminal

    def __enter__(self) -> "_StageDisplay":
        if self._is_live:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._finish()
        if self._is_live:
            self._progress.stop()

    def stage(self, name: str) -> None:
        """Finish the bar of the previous stage and start the next."""
        self._finish()
        if not self._is_live:
            err.print(f"· {name}")
        self._task = self._progress.add_task(name, total=None, note="")

    def progress(self, done: int, total: int, note: str) -> None:
        """Advance the bar."""
        if self._task is not None and total:
            text = f"{note} {done:,} / {total:,}"
            self._progress.update(self._task, completed=done, total=total, note=text)

    def _finish(self) -> None:
        if self._task is None:
            return
        task = self._progress.tasks[self._task]
        total = task.total or 1
        self._progress.update(self._task, completed=total, total=total)
        self._progress.stop_task(self._task)
        self._task = None
