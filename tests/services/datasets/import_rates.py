"""How fast files come in: `python -m tests.services.datasets.import_rates preferences 20000 URL`.

The first argument is prompts, completions, preferences or read (preferences, without storing them).
The database must be empty and is migrated; `sqlite:////tmp/rates.sqlite3` makes a new one. Printed
are rows per second by the clock, the processor time of 1,000 rows in this process and in the
PostgreSQL server (if it runs on this machine), the time that other writers had to wait on average
and at most (on SQLite), and the largest memory. The words of the texts are indexed afterwards, as
by an import's job; their processor time per 1,000 rows is apart.
"""

import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import Database, schema
from app.formats import registry
from app.services.datasets import dedicated_process, imports
from app.services.people import accounts
from app.services.project import projects

_WORDS = ("the", "of", "a", "library", "card", "open", "late", "return", "fee", "book", "when")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a file took: by the clock, in computing time here and in the server, per transaction."""

    clock_s: float
    client_s: float
    server_s: float = 0.0
    transactions_s: tuple[float, ...] = (0.0,)
    words_s: float = 0.0


def main(what: str, count: int, url: str) -> None:
    """Import a file of this many rows and print the rates."""
    with tempfile.TemporaryFile() as file:
        write(file, what, count)
        file.seek(0)
        dedicated_process.adapt()
        cost = read(file) if what == "read" else store(file, url)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    held = cost.transactions_s
    sys.stdout.write(
        f"{what}: {count / cost.clock_s:,.0f} rows/s; processor ms per 1,000 rows: client "
        f"{1e6 * cost.client_s / count:.0f}, server {1e6 * cost.server_s / count:.0f}, "
        f"words {1e6 * cost.words_s / count:.0f}; "
        f"transactions {1e3 * sum(held) / len(held):.0f} ms, at most {1e3 * max(held):.0f} ms; "
        f"{memory} MiB\n"
    )


def write(file: BinaryIO, what: str, count: int) -> None:
    """Write rows of about 300 bytes, each with a prompt of its own."""
    draw = random.Random(1)

    def words(number: int) -> str:
        return " ".join(draw.choices(_WORDS, k=number))

    for number in range(count):
        row: dict[str, Any] = {"prompt": f"{words(20)} {number}?"}
        if what == "completions":
            row["completions"] = [{"source": f"m{m}", "text": words(30 + m)} for m in (0, 1)]
        elif what != "prompts":
            row |= {"chosen": words(40), "rejected": words(35)}
        file.write(json.dumps(row).encode() + b"\n")


def read(file: BinaryIO) -> Cost:
    """Read a file without storing it."""
    started, worked = time.perf_counter(), time.process_time()
    for _ in registry.outcomes(iter(lambda: file.read(1 << 16), b"")):
        pass
    return Cost(time.perf_counter() - started, time.process_time() - worked)


def store(file: BinaryIO, url: str) -> Cost:
    """Import a file into a new project."""
    database = Database(url)
    schema.upgrade(database.engine)
    with database.transaction() as session:
        owner = accounts.create_user(session, email="o@example.org", name="O", password=None)
        project_id = projects.create(session, name="Rates", owner=owner).id
    held: list[float] = []
    before_s, started, worked = server_time(database), time.perf_counter(), time.process_time()

    @contextmanager
    def transaction() -> Iterator[Session]:
        started = time.perf_counter()
        with database.transaction() as session:
            yield session
        held.append(time.perf_counter() - started)

    imports.run_in_batches(transaction, project_id, file, filename="rates.jsonl", words_later=True)
    clock_s, client_s = time.perf_counter() - started, time.process_time() - worked
    server_s = server_time(database) - before_s
    for _ in imports.index_words(database.transaction):
        pass
    words_s = time.process_time() - worked - client_s + server_time(database) - before_s - server_s
    database.dispose()
    return Cost(clock_s, client_s, server_s, tuple(held), words_s)


def server_time(database: Database) -> float:
    """Return the computing time of the database's server processes in seconds, if they are here."""
    if database.engine.dialect.name == "sqlite":
        return 0.0
    query = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    with database.reader() as session:
        pids = session.scalars(query).all()
    ticks = 0
    for path in (Path(f"/proc/{pid}/stat") for pid in pids):
        if path.exists():
            user, system = path.read_text().rpartition(") ")[2].split()[11:13]
            ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
