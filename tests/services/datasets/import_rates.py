"""How fast files come in: `python -m tests.services.datasets.import_rates preferences 20000 URL`.

The first argument is prompts, completions, preferences or read (preferences, without storing them).
The database must be empty and is migrated; `sqlite:////tmp/rates.sqlite3` makes a new one. Printed
are rows per second by the clock and by the processor time of this process, the time that other
writers had to wait on average and at most (on SQLite), and the largest memory.
"""

import gc
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from app.db import Database, schema
from app.formats import registry
from app.services.datasets import imports
from app.services.people import accounts
from app.services.project import projects

_WORDS = ("the", "of", "a", "library", "card", "open", "late", "return", "fee", "book", "when")


def main(what: str, count: int, url: str) -> None:
    """Import a file of this many rows and print the rates."""
    with tempfile.TemporaryFile() as file:
        write(file, what, count)
        gc.freeze()  # as the worker and the command line do
        started, worked = time.perf_counter(), time.process_time()
        file.seek(0)
        held = [0.0] if what == "read" else store(file, url)
        if what == "read":
            sum(1 for _ in registry.outcomes(iter(lambda: file.read(1 << 16), b"")))
        by_clock, by_processor = time.perf_counter() - started, time.process_time() - worked
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    mean_ms, most_ms = 1e3 * sum(held) / len(held), 1e3 * max(held)
    sys.stdout.write(
        f"{what}: {count / by_clock:,.0f} rows/s, {count / by_processor:,.0f} per processor "
        f"second, transactions {mean_ms:.0f} ms, at most {most_ms:.0f} ms, {memory} MiB\n"
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


def store(file: BinaryIO, url: str) -> list[float]:
    """Import a file; return how long each transaction took."""
    database = Database(url)
    schema.upgrade(database.engine)
    with database.transaction() as session:
        owner = accounts.create_user(session, email="o@example.org", name="O", password=None)
        project_id = projects.create(session, name="Rates", owner=owner).id
    held: list[float] = []

    @contextmanager
    def transaction() -> Iterator[Session]:
        started = time.perf_counter()
        with database.transaction() as session:
            yield session
        held.append(time.perf_counter() - started)

    imports.run_in_batches(transaction, project_id, file, filename="rates.jsonl")
    database.dispose()
    return held


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
