"""Rules of assignments: the order shown, the length of a lease, and what is mixed in.

The queue itself is in the services. Random draws are passed in, so that tests can choose them;
anything that must be the same after a reload is derived from the server's secret.
"""

import hmac
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.errors import Invalid

SHORTEST_LEASE = timedelta(minutes=10)
LONGEST_LEASE = timedelta(minutes=60)
LEASE_BEFORE_ANY_JUDGMENT = timedelta(minutes=30)
MEDIANS_PER_LEASE = 3

AHEAD = 2  # assignments fetched ahead of the one on screen
AHEAD_MOST = 20  # the same for a labeler whose connection may fail
OPEN_PER_AHEAD = 10  # open comparisons for each that one labeler holds ahead
UNDO_DEPTH = 10
OVERLAP_MOST = 99  # judgments of one comparison


def shown_order(secret: bytes, labeler_id: int, comparison_id: int, k: int) -> tuple[int, ...]:
    """Return the canonical positions in the order this labeler sees them.

    It depends only on the arguments, and is unpredictable without the secret.
    """
    key = hmac.digest(secret, f"shown:{labeler_id}:{comparison_id}".encode(), "sha256")
    order = list(range(k))
    random.Random(key).shuffle(order)
    return tuple(order)


def repeated_order(secret: bytes, labeler_id: int, origin_id: int, k: int) -> tuple[int, ...]:
    """Return the order of a repeat: the origin's, reversed, so that a pair swaps places."""
    return shown_order(secret, labeler_id, origin_id, k)[::-1]


def public_number(secret: bytes, comparison_id: int) -> int:
    """Return the number under which labelers see a comparison; it reveals nothing.

    Consecutive numbers would reveal a repeat, because it is created later than its neighbors.
    """
    digest = hmac.digest(secret, f"comparison:{comparison_id}".encode(), "sha256")
    return int.from_bytes(digest[:6], "big")


def lease_length(median_active_ms: int | None) -> timedelta:
    """Return three times the project's median time, clamped to 10 to 60 minutes."""
    if median_active_ms is None:
        return LEASE_BEFORE_ANY_JUDGMENT
    wanted = timedelta(milliseconds=MEDIANS_PER_LEASE * median_active_ms)
    return min(max(wanted, SHORTEST_LEASE), LONGEST_LEASE)


def ahead(median_active_ms: int | None, open_comparisons: int) -> int:
    """Return how many comparisons a labeler may hold ahead of the one on screen.

    As many as they can judge before the lease of the last one ends, at most a tenth of what is
    open: held comparisons are kept from others. Until the project's median time is known, and near
    the end of a queue, that is `AHEAD`.
    """
    if not median_active_ms:
        return AHEAD
    in_time = lease_length(median_active_ms) // timedelta(milliseconds=median_active_ms) - 1
    return max(AHEAD, min(AHEAD_MOST, in_time, open_comparisons // OPEN_PER_AHEAD))


@dataclass(frozen=True, slots=True)
class Rates:
    """How often gold, repeat and evaluation comparisons are mixed in.

    `gold` and `repeat` are shares of all assignments; `evaluation` is the share of the rest that
    goes to fresh comparisons and evaluations while there are train comparisons, too.
    """

    gold: float = 0.0
    repeat: float = 0.0
    evaluation: float = 0.3

    def __post_init__(self) -> None:
        for name, rate in (
            ("gold", self.gold),
            ("repeat", self.repeat),
            ("evaluation", self.evaluation),
        ):
            if not 0 <= rate <= 1:
                raise Invalid(f"the {name} rate must be 0 to 1, not {rate}")
        if self.gold + self.repeat > 1:
            raise Invalid(f"gold and repeat rates add up to {self.gold + self.repeat}, above 1")


@dataclass(frozen=True, slots=True)
class Mix:
    """The purposes of ordinary work in the order to try, and what may take its place."""

    ordinary: tuple[str, str, str]
    instead: str | None


def mix(rates: Rates, draw: float, second_draw: float) -> Mix:
    """Choose the next assignment's purpose from two numbers drawn uniformly from [0, 1).

    Gold and repeats only replace ordinary work: once that has run out, so have they. A training
    waits for no fresh comparison, so they come before evaluations.
    """
    instead = None
    if draw < rates.gold:
        instead = "gold"
    elif draw < rates.gold + rates.repeat:
        instead = "repeat"
    if second_draw < rates.evaluation:
        return Mix(("fresh", "evaluation", "train"), instead)
    return Mix(("train", "fresh", "evaluation"), instead)


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of a labeler's queue; counts leave out gold, repeats and practice."""

    open: int  # this labeler could lease any of these now
    is_open_exact: bool  # False: there are at least this many
    held: int  # leased to this labeler
    judged: int
    skipped: int
    total: int
    with_others: int  # unfinished, with every remaining slot leased to others
    next_free_s: float | None  # until the first of those leases ends
    project_is_paused: bool = False
    labeler_is_paused: bool = False
    labeler_is_practising: bool = False
    is_total_exact: bool = True  # False: there are at least `total`
    held_in_all: int = 0  # with gold and repeats, which labelers cannot tell from the rest
    judged_in_all: int = 0


def why_empty(state: QueueState) -> tuple[str, ...]:
    """Return sentences that explain why there is nothing to judge; none if there is something."""
    if state.labeler_is_paused:
        return ("Your lead has paused your work in this project.",)
    if state.project_is_paused:
        return ("This project is paused.",)
    if state.labeler_is_practising:
        return ("You must pass this project’s practice before you can label.",)
    if state.open or state.held:
        return ()
    if not state.total:
        return ("There is nothing to judge yet.",)
    return tuple(_reasons(state))


def _reasons(state: QueueState) -> Sequence[str]:
    reasons = []
    if state.with_others:
        reasons.append(_with_others(state))
    if state.judged == state.total:
        reasons.append(f"You have judged all {state.total:,}.")
    elif state.judged:
        reasons.append(f"You have judged {state.judged:,} of {state.total:,} comparisons.")
    if state.skipped:
        reasons.append(f"You have skipped {state.skipped:,}.")
    rest = state.total - state.judged - state.skipped - state.with_others
    if rest > 0:
        has, needs = (
            ("comparison has", "it needs") if rest == 1 else ("comparisons have", "they need")
        )
        reasons.append(f"{rest:,} {has} all the judgments {needs}.")
    return reasons


def _with_others(state: QueueState) -> str:
    many = state.with_others != 1
    sentence = f"{state.with_others:,} comparison{'s are' if many else ' is'} with other labelers"
    if state.next_free_s is None:
        return f"{sentence}."
    minutes = max(1, round(state.next_free_s / 60))
    what = "the next frees" if many else "it frees"
    return f"{sentence}; {what} in about {minutes} minute{'s' if minutes != 1 else ''}."
