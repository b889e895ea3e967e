"""The queue's figures: never more than K, never one labeler twice, and nothing starves."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.db import Database, schema
from tests.faults.proof.rows import Outcome, Place, beyond_none, counted
from tests.services.queue import many_hands, walking_away

THREADS = 24
OVERLAP = 3
CLAIMS_MOST = 1.05


def too_many(place: Place) -> Outcome:
    """Let threads empty queues of seeded projects, on both databases."""
    seeds = [place.scale.seed + n for n in range(place.scale.count(2, 100))]
    comparisons = place.scale.count(24, 24)
    faults: list[str] = []
    began_s = time.monotonic()
    with _both(place) as databases:
        for name, url in databases:
            database = Database(url, pool_size=THREADS)
            for seed in seeds:
                found = many_hands.empty(
                    database, threads=THREADS, comparisons=comparisons, overlap=OVERLAP, seed=seed
                )
                faults += [f"{name}, seed {seed}: {fault}" for fault in found]
            database.dispose()
    return Outcome(
        f"{len(faults)} deviations from exactly {OVERLAP} judgments by different labelers",
        f"{THREADS} threads × {counted(len(seeds), 'seed')} × {comparisons} comparisons, on "
        f"SQLite and PostgreSQL, {time.monotonic() - began_s:.0f} s",
        beyond_none(len(faults), "deviation"),
        {"deviations": len(faults), "first": faults[0] if faults else ""},
    )


def starvation(place: Place) -> Outcome:
    """Let a tenth of the labelers walk away, by a simulated clock, on both databases."""
    seeds = [place.scale.seed + n for n in range(place.scale.count(2, 50))]
    with _both(place) as databases:
        worked = [walking_away.label(url, seed) for _, url in databases for seed in seeds]
    worst = max(one.claims / one.fewest for one in worked)
    unfinished = sum(one.unfinished for one in worked)
    missed = [beyond_none(unfinished, "unfinished comparison")]
    if worst > CLAIMS_MOST:
        missed.append(f"{worst - CLAIMS_MOST:.3f} × the fewest claims too many")
    return Outcome(
        f"at most {worst:.3f} × the fewest claims; {unfinished} comparisons did not reach "
        f"{walking_away.OVERLAP} judgments",
        f"{walking_away.COMPARISONS} comparisons, {walking_away.LABELERS} labelers of whom "
        f"{walking_away.WALK_AWAY} walk away, × {counted(len(seeds), 'seed')}, on SQLite and "
        "PostgreSQL",
        "; ".join(filter(None, missed)),
        {"claims_ratio": round(worst, 4), "unfinished": unfinished},
    )


@contextmanager
def _both(place: Place) -> Iterator[list[tuple[str, str]]]:
    """Give an empty database of each kind."""
    file = place.room("queue") / f"attune-{time.monotonic_ns()}.sqlite3"
    sqlite = f"sqlite:///{file}"
    database = Database(sqlite)
    schema.upgrade(database.engine)
    database.dispose()
    with place.postgres.database() as postgres:
        yield [("SQLite", sqlite), ("PostgreSQL", postgres)]
