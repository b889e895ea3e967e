"""Proves that the kinds of base models that people bring go through all commands and whole rounds.

    python -m tests.worker.proofs.base_models [--kinds NAME …] [--postgres SERVER]

Makes a tiny random model of each kind: a T5; a GPT-2 without chat template and padding token; a
Llama with two end tokens; a Gemma 3 whose template has no system turn, on MT-Bench questions; a
Qwen3 that thinks. Each is trained by `attune train sft`, `reward`, `policy` and `dpo`, and goes
through a round on SQLite and, if its server is named, on PostgreSQL, in a database of its own that
is dropped afterwards. What they leave must respond in plain transformers as it does here, and stop
at the same tokens. The exit status is 1 if a kind fails. A kind takes a minute of one core.
"""

import argparse
import secrets
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from sqlalchemy import create_engine, text

from app.db import Database, schema
from tests.worker.wholes import commands, loop
from tests.worker.wholes.kinds import KINDS, Kind


def prove(kind: Kind, postgres: str | None, folder: Path) -> Iterator[str]:
    """Yield a sentence for everything that holds of a kind.

    Raises:
        AssertionError: something does not hold.
    """
    base = kind.save(folder / "base")
    trained = commands.train(kind, base, folder)
    for name, model in trained.generators.items():
        yield f"{name} by a command: {commands.proven(kind, model)}"
    yield f"reward model by a command: scores {commands.score(kind, trained.reward):+.3f}"
    for database in _databases(postgres, folder):
        name = database.engine.dialect.name
        ended = loop.run(database, kind, base, folder / name)
        loop.expect(ended, kind)
        yield f"policy by a round on {name}: {commands.proven(kind, ended.policy)}"
        yield f"reward model by a round on {name}: scores {commands.score(kind, ended.reward):+.3f}"


def _databases(postgres: str | None, folder: Path) -> Iterator[Database]:
    yield from _migrated(f"sqlite:///{folder}/attune.sqlite3")
    if postgres is not None:
        with _scratch(postgres) as url:
            yield from _migrated(url)


def _migrated(url: str) -> Iterator[Database]:
    database = Database(url)
    schema.upgrade(database.engine)
    yield database
    database.dispose()


@contextmanager
def _scratch(server: str) -> Iterator[str]:
    """Make a database of a random name, and drop it in the end."""
    name = f"attune_proof_{secrets.token_hex(6)}"
    admin = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield f"{server}/{name}"
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def main(arguments: Sequence[str]) -> int:
    """Prove it for every kind, say so, and return the exit status."""
    parser = argparse.ArgumentParser(prog="base_models", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--postgres", help="such as postgresql+psycopg://127.0.0.1:5432")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # faster for models of a few hundred weights
    holds = True
    for name in given.kinds:
        with tempfile.TemporaryDirectory() as folder:
            try:
                for sentence in prove(KINDS[name], given.postgres, Path(folder)):
                    _say(f"{name}: ✓ {sentence}")
            except Exception:  # noqa: BLE001 - the other kinds are still proven
                holds = False
                _say(f"{name}: ✗ DOES NOT HOLD: {traceback.format_exc()}")
    return 0 if holds else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
