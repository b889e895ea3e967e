"""Proves the end-to-end claims against simulated labelers of a known taste.

    python -m tests.worker.proofs [--seeds N …] [--claims KIND …] [--threads N] [--models FOLDER]

A sentence for every claim, with its figures; the exit status is 1 where one does not hold. A seed
takes some 25 minutes of one core.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.worker.proofs import claims
from tests.worker.proofs.desk import Desk, Sizes, use_threads


def main(arguments: Sequence[str], sizes: Sizes | None = None) -> int:
    """Prove what is claimed on every seed, say so, and return the exit status."""
    parser = argparse.ArgumentParser(prog="proofs", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--claims", nargs="+", default=claims.KINDS, choices=claims.KINDS)
    parser.add_argument("--threads", type=int, help="of this process; default all cores")
    parser.add_argument("--models", type=Path, help="where SFT models are kept for another time")
    given = parser.parse_args(arguments)
    use_threads(given.threads)
    holds = True
    with tempfile.TemporaryDirectory() as name:
        for seed in given.seeds:
            desk = Desk(seed, sizes or Sizes(), (given.models or Path(name)) / f"sft-{seed}")
            began = time.monotonic()
            if not (desk.folder / "config.json").exists():
                desk.imitate()
            _say(f"seed {seed}: SFT model after {time.monotonic() - began:.0f} s")
            for claim in claims.prove(desk, given.claims):
                holds &= claim.holds
                _say(f"  {'✓' if claim.holds else '✗ DOES NOT HOLD:'} {claim.text}")
            _say(f"  {time.monotonic() - began:.0f} s")
    return 0 if holds else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
