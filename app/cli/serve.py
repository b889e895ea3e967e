"""`migrate`, `serve` and `up`: the database schema and the web server."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated

import typer
import uvicorn
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from app import logs
from app.cli import processes
from app.cli.console import say
from app.db import Database, connection_errors, schema
from app.errors import Invalid
from app.main import THREADS, create_app
from app.services.quality import figure_refresher, kept_figures
from app.settings import Settings, load
from app.web import transport
from app.web.http_protocol import BoundedProtocol

WEB_IDLE_S = 60  # a web process that hangs in a transaction must not hold its locks forever
THREADS_LEAST = 10
LOOK_EVERY_S = 30.0  # whether a project has become large


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(migrate)
    app.command()(serve)
    app.command()(up)


def migrate(
    revision: Annotated[str, typer.Argument(help="Target revision.")] = "head",
    down: Annotated[bool, typer.Option("--down", help="Downgrade instead of upgrading.")] = False,
) -> None:
    """Migrate the database to a revision."""
    database = Database(load().database)
    step = schema.downgrade if down else schema.upgrade
    with connection_errors.in_a_sentence():
        step(database.engine, revision)
    say(f"The database is at revision {schema.revision(database.engine) or 'none'}.")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind; 0 for any free port.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Web processes, about one per core; not with SQLite.")
    ] = 1,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A bound socket.")] = None,
    threads: Annotated[int, typer.Option(hidden=True, help="Threads of this process.")] = THREADS,
) -> None:
    """Serve the web application."""
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    if fd is not None:
        run_server(
            settings,
            socket.socket(fileno=fd),
            threads=threads,
            refreshes=False,
            says_address=False,
        )
        return
    if workers > 1 and make_url(settings.database).get_backend_name() == "sqlite":
        raise Invalid(f"SQLite allows only one web process, not {workers}")
    listener = _listener(settings, host, port)
    # The server re-raises the signal after it has shut down; its children must still be stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if workers > 1:
        _run_several(settings, listener, workers)
    else:
        run_server(settings, listener)


def up(
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind; 0 for any free port.")] = None,
) -> None:
    """Serve the web application and run a worker for each queue, until Ctrl+C."""
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    listener = _listener(settings, host, port)
    ready_database(settings).dispose()
    # The server re-raises the signal after it has shut down; the workers must still be stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    workers = [processes.Child(name, lane) for name, lane in processes.LANES.items()]
    for worker in workers:
        threading.Thread(target=worker.keep_alive, daemon=True).start()
    try:
        run_server(settings, listener)
    finally:
        for worker in workers:
            worker.stop()


@contextmanager
def refreshing(database: Database) -> Iterator[None]:
    """Run the process that refreshes figures in the meantime, as soon as a project needs it."""
    stopping = threading.Event()
    children: list[processes.Child] = []

    def start() -> None:
        figure_refresher.announce(database)  # from now on, no page computes figures itself
        children.append(processes.Child("figures", ["figures", "--parent", str(os.getpid())]))

    def keep() -> None:
        while not children:
            if stopping.wait(LOOK_EVERY_S):
                return
            if _needs_refresher(database):
                start()
        children[0].keep_alive()

    if _needs_refresher(database):
        start()

    keeper = threading.Thread(target=keep, name="figures", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stopping.set()
        for child in children:
            child.stop()


def _needs_refresher(database: Database) -> bool:
    try:
        with database.reader() as session:
            return kept_figures.needs_refresher(session)
    except SQLAlchemyError:  # asked again in a while
        return False


def run_server(
    settings: Settings,
    listener: socket.socket,
    *,
    threads: int = THREADS,
    refreshes: bool = True,
    says_address: bool = True,
) -> None:
    """Serve on a bound socket until a signal to stop; `refreshes` the figures of large projects."""
    database = ready_database(settings, pool_size=threads, idle_s=WEB_IDLE_S)
    if says_address:
        _say_address(settings, listener)
    config = uvicorn.Config(
        create_app(settings, database, threads=threads),
        http=BoundedProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=10,
    )
    with listener, refreshing(database) if refreshes else nullcontext():
        uvicorn.Server(config).run(sockets=[listener])
    database.dispose()


def _run_several(settings: Settings, listener: socket.socket, workers: int) -> None:
    """Serve one socket from several processes, and restart any that ends."""
    database = ready_database(settings, pool_size=1)
    fd, threads = listener.fileno(), max(THREADS // workers, THREADS_LEAST)
    children = [
        processes.Child(
            f"web {number}", ["serve", "--fd", str(fd), "--threads", str(threads)], inherits=[fd]
        )
        for number in range(1, workers + 1)
    ]
    keepers = [threading.Thread(target=child.keep_alive, daemon=True) for child in children]
    _say_address(settings, listener)
    try:
        with refreshing(database):
            for keeper in keepers:
                keeper.start()
            for keeper in keepers:
                keeper.join()
    except KeyboardInterrupt:
        pass
    finally:
        for child in children:
            child.stop()


def _say_address(settings: Settings, listener: socket.socket) -> None:
    say(f"Attune is running at [bold]{settings.public_url or address_of(listener)}[/bold]")


def _listener(settings: Settings, host: str | None, port: int | None) -> socket.socket:
    """Bind the address of the options or else of the settings.

    Raises:
        Invalid: it cannot be bound, or people could not sign in there safely.
    """
    transport.check(settings, host or settings.host)
    return listen(host or settings.host, settings.port if port is None else port)


def listen(host: str, *ports: int) -> socket.socket:
    """Bind the first free port.

    Raises:
        Invalid: none of them is free.
    """
    for port in ports:
        try:
            return socket.create_server((host, port), family=_family(host), backlog=2048)
        except OSError as error:
            reason = error.strerror
    raise Invalid(f"port {ports[-1]} on {host} cannot be bound: {reason}; try --port 0")


def address_of(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ready_database(
    settings: Settings, *, pool_size: int = THREADS, idle_s: int | None = None
) -> Database:
    """Open the database; migrate an embedded one, and check that another is up to date.

    Raises:
        Invalid: another one is not up to date.
        Unavailable: no connection can be made.
    """
    database = Database(settings.database, pool_size=pool_size, idle_s=idle_s)
    with connection_errors.in_a_sentence():
        if settings.is_embedded:
            schema.upgrade(database.engine)
        elif not schema.is_current(database.engine):
            at, head = schema.revision(database.engine), schema.head()
            raise Invalid(f"the database {schema.behind(at, head)}: run attune migrate")
    return database


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
