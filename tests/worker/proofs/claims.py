"""What is claimed of the loop, as figures of one seed and the rules they must obey.

1. The reward model's accuracy against the truth rises with labels, beats length alone, and exceeds
   its accuracy against noisy votes.
2. PPO raises the true utility with KL under its budget.
3. With few labels and no price of KL the true utility peaks and falls while the reward climbs; the
   alarm ends the run, and the weights kept have at least 90 % of what was gained at the peak, or
   the gate on the reward model holds the round back before.
4. Every round's policy is better than the SFT model and not worse than the one before; the third
   round gains at least 1.5 times as much as the first and beats it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.worker.proofs import overdone as overdoing
from tests.worker.proofs.course import Course, RoundOutcome
from tests.worker.proofs.desk import Desk, Judged, longer_wins
from tests.worker.proofs.figures import high, low, span, value

KINDS = ("labels", "overdone", "rounds")
GOALS = ("peak", "climb")
"""Claims that are made only if asked for: they are aimed at, and not yet proven."""
FALL = 0.2
"""How far the true utility must come down from its peak; a batch's mean has an error of 0.1."""
KEPT = 0.9
"""The share of the true utility gained at the peak that the weights kept at an alarm still have."""

CLIMBED, CLIMB = 3, 1.5
"""The round whose policy is compared with the first one's, and how many times as much it gains."""


class Tally(StrEnum):
    """A claim that has to hold for five seeds and tastes of six."""

    GAIN = "the third round gains 1.5 times as much as the first"
    WIN = "the third round beats the first"


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence with the figures in it, and whether it holds.

    One with a tally is made of every seed and taste, and has to hold for five of six.
    """

    text: str
    holds: bool
    tally: Tally | None = None


def prove(course: Course, wanted: Sequence[str] = KINDS) -> Iterator[Claim]:
    """Make the claims of some kinds about one seed's help desk, one after the other."""
    desk, prompts = course.desk, course.desk.prompts()
    k = desk.demo.k
    labelled = (*prompts.rounds[0], *prompts.rounds[1])
    if "labels" in wanted:
        pool = desk.judged(course.answers(None, labelled, n=k, seed=4), "pool")
        test = desk.judged(course.answers(None, prompts.test, n=k, seed=2), "test")
        yield from labels(desk, pool, course.watched, test)
    if "overdone" in wanted or "peak" in wanted:
        yield from (claim for kind, claim in overdone(course) if kind in wanted)
    if "rounds" in wanted or "climb" in wanted:
        yield from (claim for kind, claim in rounds(course) if kind in wanted)


def labels(
    desk: Desk, pool: Sequence[Judged], watched: Sequence[Judged], test: Sequence[Judged]
) -> Iterator[Claim]:
    """Fit reward models to more and more comparisons."""
    longer = longer_wins(pool)
    counts = desk.sizes.labels
    fitted = [desk.reward_model(pool[:count], watched) for count in counts]
    found = [desk.truth_of(model, test, longer) for model in fitted]
    votes = desk.votes_of(fitted[-1], test)
    told = ", ".join(
        f"{count} comparisons {value(one.accuracy):.3f}"
        for count, one in zip(counts, found, strict=True)
    )
    first, last = found[0], found[-1]
    yield Claim(
        f"accuracy on the truth rises with labels: {told} {span(last.accuracy)}",
        low(last.accuracy) > value(first.accuracy),
    )
    yield Claim(
        f"it beats length alone ({value(last.length_only):.3f}) by "
        f"{value(last.minus_length_only):.3f} {span(last.minus_length_only)}",
        low(last.minus_length_only) > 0.0,
    )
    cap = 1.0 - desk.demo.flip_rate
    yield Claim(
        f"it is higher on the truth than on votes, of which {value(votes):.3f} are met; "
        f"{cap:.2f} is the most",
        value(last.accuracy) > value(votes) and value(votes) < cap,
    )


def rounds(course: Course) -> Iterator[tuple[str, Claim]]:
    """Run round after round on all judgments so far, and compare their policies."""
    done: list[RoundOutcome] = []
    for outcome in course.rounds():
        yield "rounds", _raised(course, outcome)
        if done:
            yield "climb", _not_worse(course, done[-1], outcome)
        done.append(outcome)
    won = course.won(course.sft_answers, done[-1].answers)
    yield (
        "rounds",
        Claim(
            f"after {len(done)} rounds the policy beats SFT: {span(won.win_rate)}",
            low(won.win_rate) > 0.5,
        ),
    )
    for claim in () if len(done) < CLIMBED else _climbed(course, done[0], done[CLIMBED - 1]):
        yield "climb", claim


def _raised(course: Course, outcome: RoundOutcome) -> Claim:
    budget = course.desk.plan.policy.kl_budget
    assert budget is not None
    won = course.won(course.sft_answers, outcome.answers)
    return Claim(
        f"round {outcome.number}, {outcome.comparisons} comparisons: true utility "
        f"{value(won.before):+.2f} → {value(won.after):+.2f}, change {span(won.change)}, at "
        f"{outcome.kl_nats:.1f} nats of KL (budget {budget**2:.0f}); wins "
        f"{value(won.win_rate):.3f} {span(won.win_rate)} against SFT; step {outcome.best_step} of "
        f"{outcome.steps}: {outcome.stop_reason}",
        low(won.change) > 0.0 and outcome.kl_nats < budget**2,
    )


def _not_worse(course: Course, before: RoundOutcome, outcome: RoundOutcome) -> Claim:
    won = course.won(before.answers, outcome.answers)
    return Claim(
        f"round {outcome.number} is not worse than round {before.number} beyond noise: wins "
        f"{value(won.win_rate):.3f} {span(won.win_rate)}",
        high(won.win_rate) >= 0.5,
    )


def _climbed(course: Course, first: RoundOutcome, last: RoundOutcome) -> Iterator[Claim]:
    gains = [value(course.won(course.sft_answers, one.answers).change) for one in (first, last)]
    yield Claim(
        f"round {last.number} gains {gains[1]:.2f}, round 1 {gains[0]:.2f}: "
        f"{gains[1] / gains[0] if gains[0] else math.nan:.2f} times as much",
        gains[1] >= CLIMB * gains[0] > 0.0,
        Tally.GAIN,
    )
    won = course.won(first.answers, last.answers)
    yield Claim(
        f"round {last.number} beats round 1: {value(won.win_rate):.3f} {span(won.win_rate)}",
        low(won.win_rate) > 0.5,
        Tally.WIN,
    )


def overdone(course: Course) -> Iterator[tuple[str, Claim]]:
    """Train against a reward model of few labels to the end, and see what the alarms make of it."""
    desk = course.desk
    run = overdoing.record(course)
    start, peak, end = run.looks[0], run.peak, run.looks[-1]
    falls = Claim(
        f"{desk.sizes.few_labels} labels, no price of KL: true utility {start.utility:+.2f}, peak "
        f"{peak.utility:+.2f} at step {peak.step}, {end.utility:+.2f} at step {end.step}, while "
        f"the reward climbs from {peak.reward:.2f} to {end.reward:.2f}; KL {end.kl_nats:.0f} nats",
        0 < peak.step < end.step
        and peak.utility - end.utility >= FALL
        and end.reward > peak.reward,
    )
    yield "overdone", falls
    ended = overdoing.replay(run, run.rules)
    kept, is_stopped = ended.kept, ended.stop.is_alarm and ended.step < end.step
    alarm = Claim(
        f"the alarm ends the run at step {ended.step} of {end.step} ({ended.stop.reason}); the "
        f"weights kept are of step {kept.step}, true utility {kept.utility:+.2f}",
        is_stopped and kept.utility > end.utility and kept.step < ended.step,
    )
    yield "overdone", alarm
    gain, most = (look.utility - start.utility for look in (kept, peak))
    before = f"; a round would have waited before it: {run.gate}" if run.gate else ""
    share = Claim(
        f"the weights kept have {gain:.2f} of the {most:.2f} of true utility gained at the peak"
        + before,
        bool(run.gate) or (is_stopped and gain >= KEPT * most > 0.0),
    )
    yield "peak", share
