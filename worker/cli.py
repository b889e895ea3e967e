"""`worker`: runs jobs. It joins `attune` through the entry-point group `attune.commands`."""

import signal
from typing import Annotated

import typer
from sqlalchemy import inspect
from sqlalchemy.exc import OperationalError

from app import logs, settings
from app import queue as broker
from app.db import Database
from app.errors import Invalid
from app.models import Job
from worker import main
from worker.assistant import Assistant


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(worker)


def worker(
    queues: Annotated[
        str, typer.Option(help="Queues to take jobs from, separated by commas.")
    ] = ",".join(broker.QUEUES),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or another torch device.")] = "auto",
    poll: Annotated[
        bool, typer.Option(help="Poll the jobs table even if a broker is set.")
    ] = False,
    assist: Annotated[
        bool,
        typer.Option(
            "--assist",
            help="Take no jobs: lend this host to the training jobs of the worker at "
            "ATTUNE_JOB_RENDEZVOUS.",
        ),
    ] = False,
) -> None:
    """Run jobs until told to stop, one at a time, each in its own process."""
    names = _queues(queues)
    loaded = settings.load()
    logs.configure(loaded.log_level, loaded.log_format)
    if assist:
        _assist(main.assistant(loaded, device))
        return
    _check_tables(loaded)
    broker.configure(loaded.broker_url)
    supervisor = main.build(loaded, names, device)
    if loaded.broker_url is not None and not poll:
        main.consume(supervisor, loaded.broker_url, loaded.log_level)
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _signal, _frame: supervisor.stop())
    with main.sweeping(supervisor):
        supervisor.poll()


def _check_tables(loaded: settings.Settings) -> None:
    """Refuse a database without tables; one that does not respond yet is waited for later.

    Raises:
        Invalid: there are no tables.
    """
    database = Database(loaded.database, pool_size=1)
    try:
        is_ready = inspect(database.engine).has_table(Job.__tablename__)
    except OperationalError:
        return
    finally:
        database.dispose()
    if not is_ready:
        raise Invalid("the database has no tables yet: run attune migrate")


def _assist(assistant: Assistant) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _signal, _frame: assistant.stop())
    assistant.run()


def _queues(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in broker.QUEUES:
            raise Invalid(f"queues are {', '.join(broker.QUEUES)}; there is no queue {name!r}")
    return names
