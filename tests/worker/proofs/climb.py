"""Compares ways to run rounds, on simulated labelers of a known taste.

    python -m tests.worker.proofs.climb VARIANT … [--seeds N …] [--tastes NAME …] [--rounds N]
        [--overlap N] [--shelf FOLDER]

A line for every round of every variant: what the truth says of its policy. Reward models, policies
and responses lie on the shelf, so what variants share is made once and an interrupted command goes
on where it was. A round takes some 7 minutes of one core. With another overlap, as many judgments
are spread over more or fewer comparisons.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.demo import taste
from app.demo.plan import DemoPlan
from app.domain.plan import RoundPlan, Start
from tests.worker.proofs.course import Course, RoundOutcome, Variant
from tests.worker.proofs.desk import Desk, Sizes, use_threads
from tests.worker.proofs.figures import span, value
from tests.worker.proofs.shelf import Shelf


def with_policy(plan: RoundPlan, **changes: Any) -> RoundPlan:
    """Return a plan with other settings of the policy."""
    return replace(plan, policy=replace(plan.policy, **changes))


FIXED: Mapping[str, Any] = {"kl_by_judgments": False}
LAST: Mapping[str, Any] = {"start": Start.LAST, **FIXED}
OLD: Mapping[str, Any] = {"start": Start.SFT, **FIXED}


def _variant(from_policy: float = 0.5, *, knows_truth: bool = False, **changes: Any) -> Variant:
    return Variant(
        lambda plan, _number, _accuracy: with_policy(plan, **changes), knows_truth, from_policy
    )


VARIANTS: Mapping[str, Variant] = {
    "default": Variant(),
    "restart": _variant(**OLD),
    "restart-quarter": _variant(0.25, start=Start.SFT),
    "last": _variant(**LAST),
    "last-half-kl": _variant(**LAST, kl_coefficient=0.05),
    "restart-half-kl": _variant(**OLD, kl_coefficient=0.05),
    "last-all-new": _variant(1.0, **LAST),
    "truth-30": _variant(**OLD, knows_truth=True),
    "truth-90": _variant(**OLD, max_steps=90, epochs=5, knows_truth=True),
    "truth-last": _variant(**LAST, knows_truth=True),
    "truth": Variant(knows_truth=True),
}


def main(arguments: Sequence[str], sizes: Sizes | None = None) -> int:
    """Run the variants, and print a line for each of their rounds."""
    parser = argparse.ArgumentParser(prog="climb", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("variants", nargs="+", choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tastes", nargs="+", default=["default"], choices=taste.names())
    parser.add_argument("--rounds", type=int, default=3)
    overlaps = range(1, DemoPlan().overlap + 1)
    parser.add_argument(
        "--overlap", type=int, choices=overlaps, help="judgments per comparison; default 3"
    )
    parser.add_argument("--threads", type=int, help="of this process; default all cores")
    parser.add_argument("--shelf", type=Path, default=Path(".attune/proofs"))
    given = parser.parse_args(arguments)
    use_threads(given.threads)
    demo = DemoPlan()
    if given.overlap is not None:
        demo = replace(demo, overlap=given.overlap)
    sizes = spread(replace(sizes or Sizes(), rounds=given.rounds), demo.overlap)
    for seed in given.seeds:
        for name in given.tastes:
            desk = Desk(seed, sizes, given.shelf / f"sft-{seed}", taste.named(name), demo)
            if not (desk.folder / "config.json").exists():
                desk.imitate()
            for variant in given.variants:
                course = Course(desk, Shelf(given.shelf), VARIANTS[variant])
                _say_rounds(course, f"{variant}, {name} {seed}")
    return 0


def spread(sizes: Sizes, overlap: int) -> Sizes:
    """Return the sizes at which as many judgments are made with another overlap."""
    judged = DemoPlan().overlap
    return replace(
        sizes,
        labelled=sizes.labelled * judged // overlap,
        watched=sizes.watched * judged // overlap,
    )


def _say_rounds(course: Course, title: str) -> None:
    before: RoundOutcome | None = None
    for outcome in course.rounds():
        _say(f"{title}, round {outcome.number}: {described(course, outcome, before)}")
        before = outcome


def described(course: Course, outcome: RoundOutcome, before: RoundOutcome | None) -> str:
    """Return a round's figures in words."""
    sft = course.won(course.sft_answers, outcome.answers)
    last = "" if before is None else _against(course, before, outcome)
    learned = (
        "the truth"
        if outcome.accuracy is None or outcome.true_accuracy is None
        else f"{outcome.comparisons} comparisons, accuracy {outcome.accuracy:.3f} on votes, "
        f"{outcome.true_accuracy:.3f} on the truth"
    )
    return (
        f"{learned}; utility {value(sft.before):+.2f} → {value(sft.after):+.2f} "
        f"{span(sft.change)}, wins {value(sft.win_rate):.3f} {span(sft.win_rate)}{last}; "
        f"{outcome.kl_nats:.1f} nats; step {outcome.best_step} of {outcome.steps}: "
        f"{outcome.stop_reason}; {outcome.cpu_s:.0f} s"
    )


def _against(course: Course, before: RoundOutcome, outcome: RoundOutcome) -> str:
    won = course.won(before.answers, outcome.answers)
    said = f", {value(won.win_rate):.3f} {span(won.win_rate)} against round {before.number}"
    if outcome.share is None:
        return said
    verdict = "held" if outcome.is_held else "promoted"
    return f"{said}, {verdict} with {value(outcome.share):.3f} {span(outcome.share)} of the votes"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
