"""Proves the end-to-end claims against simulated labelers of a known taste.

    python -m tests.worker.proofs [--seeds N …] [--tastes NAME …] [--claims KIND …] [--rounds N]
        [--threads N] [--models FOLDER]

A sentence for every claim, with its figures; the exit status is 1 where one does not hold. The
kinds "peak" and "climb" are goals, which are made only if asked for; what the third round gains has
to hold for five of six seeds and tastes. A seed takes some 25 minutes of one core.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.demo import taste
from tests.worker.proofs import claims
from tests.worker.proofs.claims import Claim, Tally
from tests.worker.proofs.course import Course
from tests.worker.proofs.desk import Desk, Sizes, use_threads
from tests.worker.proofs.shelf import Shelf


def main(arguments: Sequence[str], sizes: Sizes | None = None) -> int:
    """Prove what is claimed on every seed and taste, say so, and return the exit status."""
    kinds = (*claims.KINDS, *claims.GOALS)
    parser = argparse.ArgumentParser(prog="proofs", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tastes", nargs="+", default=["default"], choices=taste.names())
    parser.add_argument("--claims", nargs="+", default=claims.KINDS, choices=kinds)
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--threads", type=int, help="of this process; default all cores")
    parser.add_argument("--models", type=Path, help="where models are kept for another time")
    given = parser.parse_args(arguments)
    use_threads(given.threads)
    sizes = sizes or Sizes()
    sizes = replace(sizes, rounds=given.rounds or sizes.rounds)
    made: list[Claim] = []
    with tempfile.TemporaryDirectory() as name:
        folder = given.models or Path(name)
        for seed in given.seeds:
            for taste_name in given.tastes:
                desk = Desk(seed, sizes, folder / f"sft-{seed}", taste.named(taste_name))
                made += _prove(desk, Shelf(folder), given.claims)
    holds = all(claim.holds for claim in made if claim.tally is None)
    for tally in Tally:
        holds &= count(tally, [claim for claim in made if claim.tally is tally])
    return 0 if holds else 1


def _prove(desk: Desk, shelf: Shelf, kinds: Sequence[str]) -> list[Claim]:
    title, began = f"seed {desk.seed}, {desk.taste.name} taste", time.monotonic()
    if not (desk.folder / "config.json").exists():
        desk.imitate()
    _say(f"{title}: SFT model after {time.monotonic() - began:.0f} s")
    made = []
    for claim in claims.prove(Course(desk, shelf), kinds):
        made.append(claim)
        _say(f"  {'✓' if claim.holds else '✗ DOES NOT HOLD:'} {claim.text}")
    _say(f"  {time.monotonic() - began:.0f} s")
    return made


def count(tally: Tally, made: Sequence[Claim]) -> bool:
    """Say for how many seeds and tastes a claim holds, and return whether these are enough."""
    if not made:
        return True
    count = sum(claim.holds for claim in made)
    holds = 6 * count >= 5 * len(made)
    _say(f"{'✓' if holds else '✗ DOES NOT HOLD:'} {tally}: {count} of {len(made)}")
    return holds


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
