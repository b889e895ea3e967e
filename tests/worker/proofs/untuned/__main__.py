"""Proves that "balanced" learns on base models that nobody tuned it for, or stops and says why.

    python -m tests.worker.proofs.untuned [--models NAME …] [--seeds N …] [--threads N]

Trains three base models of different shapes, vocabularies and texts, and launches a round on each
with the choice "balanced" alone, judged by three labelers of a hidden taste who flip 15 % of their
judgments. The lower ends of the 95 % intervals must be above the better length rule for the reward
model, and above one half for the policy's win rate, both by the truth; or a gate must have stopped
the round with a reason. The exit status is 1 if a round does neither. A round takes 5 to 15 minutes
of one core, and a base model 2 to 7.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.db import Database, schema
from app.demo import truth
from app.domain.measures import Measure
from tests.worker.proofs.desk import use_threads
from tests.worker.proofs.untuned import bases
from tests.worker.proofs.untuned.bases import BASES, Base
from tests.worker.proofs.untuned.whole_rounds import Outcome, Proof, Sizes

HEAD = (
    "| model | seed | reward model | longer wins | win rate | gates | estimated | took |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def main(
    arguments: Sequence[str], sizes: Sizes | None = None, known: Mapping[str, Base] = BASES
) -> int:
    """Prove it for every model and seed, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="untuned", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(known), choices=list(known))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, help="of this process; default all cores")
    parser.add_argument("--models-folder", type=Path, help="where base models are kept")
    given = parser.parse_args(arguments)
    use_threads(given.threads)
    _say(HEAD)
    holds = True
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.models:
            model = bases.saved(known[name], (given.models_folder or Path(scratch)) / name)
            for seed in given.seeds:
                folder = Path(scratch) / f"{name}-{seed}"
                folder.mkdir()
                outcome = prove(Proof(known[name], model, seed, sizes or Sizes(), *_at(folder)))
                holds &= outcome.holds
                _say(_row(name, seed, outcome))
    return 0 if holds else 1


def prove(proof: Proof) -> Outcome:
    """Run a round, and close its database."""
    try:
        return proof.run()
    finally:
        proof.database.dispose()


def _at(folder: Path) -> tuple[Database, Path]:
    database = Database(f"sqlite:///{folder}/attune.sqlite3")
    schema.upgrade(database.engine)
    return database, folder


def _row(name: str, seed: int, outcome: Outcome) -> str:
    reward, policy = outcome.reward, outcome.policy
    stages = ", ".join(f"{kind} {seconds:.0f}" for kind, seconds in outcome.stages)
    said = outcome.stopped or "; ".join(outcome.raised) or "none fired"
    cells = (
        f"{'✓' if outcome.holds else '✗'} {name}",
        seed,
        _span(reward.accuracy) if reward else "none",
        _span(reward.length_only) if reward else "none",
        _span(policy.win_rate) if policy else "none",
        f"stopped: {said}" if outcome.stopped else said,
        f"{outcome.estimated_s:.0f} s",
        f"{outcome.took_s:.0f} s ({stages})",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _span(measure: Measure) -> str:
    value, bounds = truth.value(measure), truth.bounds(measure)
    if value is None:
        return "undefined"
    return f"{value:.3f}" + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else "")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
