"""The long restore drill: `python -m tests.faults.restore_drill [--rounds 10] [--seed 1]`.

Each round, on SQLite and on PostgreSQL: people label in several threads and a worker runs jobs.
At a random moment a backup is taken, into a file or a folder, plain or encrypted. It is restored

1. elsewhere: the export must have the bytes of the original's up to the snapshot, every judgment
   acknowledged before the backup must be there, and the jobs must end with one result each;
2. over the installation itself, whose worker was frozen and comes back: its jobs must end with one
   result each, and none under a lease from before the restoration.

It prints a line for each round and ends with status 1 if a round fails.
"""

import argparse
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from app.backup import encryption
from app.backup.encryption import NO_KEY, EncryptionKey, Unlock
from app.db import Database, schema
from app.domain.states import OVER_JOB_STATES, JobState
from app.models import Judgment
from app.services.jobs import restored_jobs
from app.services.people import audit
from tests.backup.worlds import World, written_to
from tests.faults.workers import enqueue, freeze, results, worker

POSTGRES = os.environ.get("ATTUNE_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432")
WRITERS = 3
PATIENCE_S = 900


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", default=["sqlite", "postgresql"])
    chosen = parser.parse_args()
    failed = 0
    for kind in chosen.kinds:
        for n in range(1, chosen.rounds + 1):
            seeded = random.Random(f"{chosen.seed} {kind} {n}")
            began = time.monotonic()
            try:
                said = _round(kind, seeded)
            except AssertionError as error:
                failed += 1
                said = f"FAILED: {error}"
            sys.stdout.write(f"{kind:<10} {n:>3}  {said}  {time.monotonic() - began:.1f} s\n")
            sys.stdout.flush()
    sys.stdout.write(f"{failed} failed\n")
    return min(failed, 1)


def _round(kind: str, seeded: random.Random) -> str:
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="drill-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        world = stack.enter_context(_world(kind, folder / "here"))
        elsewhere = stack.enter_context(_world(kind, folder / "elsewhere"))
        schema.upgrade(world.database.engine)
        world.fill().export()
        ids = _enqueue(world, 3)
        key, unlock = _keys(seeded, folder)
        path, shares = _path(seeded, folder)
        with worker(world.database, world.folder) as process:
            with ExitStack() as writers:
                for _ in range(WRITERS):
                    writers.enter_context(written_to(world))
                time.sleep(seeded.uniform(0.1, 2.0))
                before = world.count(Judgment)
                done = world.backup(path, shares=shares, key=key)
            ids_after = _enqueue(world, 2)
            time.sleep(seeded.uniform(0.0, 1.0))
            freeze(world.database, process.pid)
            elsewhere.restore(done.path, unlock)
            elsewhere.project_id = world.project_id
            _is_the_snapshot(world, elsewhere, before)
            _ends_once(elsewhere, ids)
            world.restore(done.path, unlock, replaces=True)
            _enqueue(world, len(ids_after))  # the same ids, for other jobs
            os.kill(process.pid, signal.SIGCONT)
            _ends_once(world, [*ids, *ids_after])
        shape = f"{'folder' if shares else 'file':<6} {'encrypted' if key else 'plain':<9}"
        return f"{shape} {done.manifest.rows['judgment']:>5} judgments, {before} before"


def _enqueue(world: World, count: int) -> list[int]:
    return [enqueue(world.database, "steps", steps=5, step_s=0.2) for _ in range(count)]


def _keys(seeded: random.Random, folder: Path) -> tuple[EncryptionKey | None, Unlock]:
    if seeded.random() < 0.5:
        return None, NO_KEY
    path = folder / "key.txt"
    return encryption.write_key_file(path), Unlock(key_file=path)


def _path(seeded: random.Random, folder: Path) -> tuple[Path, bool]:
    (folder / "backups").mkdir()
    shares = seeded.random() < 0.5
    return folder / "backups" / "attune-20260101T000000Z.backup", shares


def _is_the_snapshot(world: World, elsewhere: World, before: int) -> None:
    restored = elsewhere.export().splitlines()
    kept = set(restored)
    original = [line for line in world.export().splitlines() if line in kept]
    assert restored == original, "the restored export differs from the original's"
    assert len(restored) == elsewhere.count(Judgment) >= before, "judgments are missing"
    assert schema.drift(elsewhere.database.engine) == [], "tables differ"
    with elsewhere.database.reader() as session:
        assert audit.broken_at(session) is None, "the audit log is broken"


def _ends_once(world: World, ids: list[int]) -> None:
    """Let a worker run what is left; every job must end with one result, under a new lease."""

    def is_over() -> bool:
        return all(world.job(id).state in OVER_JOB_STATES for id in ids)

    deadline = time.monotonic() + PATIENCE_S
    with worker(world.database, world.folder):
        while not is_over():
            assert time.monotonic() < deadline, f"jobs did not end within {PATIENCE_S} s"
            time.sleep(0.2)
    with world.database.reader() as session:
        floor = restored_jobs.lease_floor(session)
    for id in ids:
        job = world.job(id)
        assert job.state == JobState.SUCCEEDED, f"job {id} is {job.state}: {job.error}"
        assert results(world.database, id) == 1, f"job {id} has other than one result"
        assert job.lease_token >= floor, f"job {id} ended under a lease from before"


@contextmanager
def _world(kind: str, folder: Path) -> Iterator[World]:
    folder.mkdir()
    if kind == "sqlite":
        database = Database(f"sqlite:///{folder}/attune.sqlite3")
        yield World(database, folder)
        database.dispose()
        return
    name = f"attune_drill_{secrets.token_hex(6)}"
    admin = create_engine(f"{POSTGRES}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    database = Database(f"{POSTGRES}/{name}")
    try:
        yield World(database, folder)
    finally:
        database.dispose()
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


if __name__ == "__main__":
    sys.exit(main())
