"""When a project's next round starts without a person: the settings, and what stands in the way.

The rules are pure: reading the facts, launching the round and pausing are left to services.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import isfinite

from app.errors import Invalid

JUDGMENTS_MOST = 100_000
IN_ROW_MOST = 100
HOURS_MOST = 24 * 365


@dataclass(frozen=True, slots=True)
class AutomaticSettings:
    """After how many new judgments the next round starts, and the limits.

    `most_in_row` rounds start without a decision by a person in between, the next one no sooner
    than `hours_between` after the last. With `promotes`, a round that started automatically is
    promoted where the whole interval of its win rate is above one half.

    Raises:
        Invalid: a number is out of its range.
    """

    judgments: int = 500
    most_in_row: int = 3
    hours_between: float = 24.0
    promotes: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.judgments <= JUDGMENTS_MOST:
            raise Invalid(
                f"new judgments for an automatic round must be 1 to {JUDGMENTS_MOST:,}, "
                f"not {self.judgments:,}"
            )
        if not 1 <= self.most_in_row <= IN_ROW_MOST:
            raise Invalid(
                f"automatic rounds in a row must be 1 to {IN_ROW_MOST}, not {self.most_in_row:,}"
            )
        if not (isfinite(self.hours_between) and 0 <= self.hours_between <= HOURS_MOST):
            raise Invalid(
                f"hours between automatic rounds must be 0 to {HOURS_MOST:,}, "
                f"not {self.hours_between}"
            )


class Blocker(StrEnum):
    """Why the next round does not start now."""

    OFF = "off"
    PAUSED = "paused"  # by a person, or after a round that needed one
    LABELING_PAUSED = "labeling_paused"
    ROUND_OPEN = "round_open"
    NO_PLAN = "no_plan"  # no round yet, and no plan is kept
    IN_ROW = "in_row"  # a person must decide first
    TOO_SOON = "too_soon"
    TOO_FEW = "too_few"  # judgments


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides whether a round starts, except the number of new judgments."""

    is_on: bool
    is_paused: bool
    is_labeling_paused: bool
    has_open_round: bool
    has_plan: bool
    launched_in_row: int
    launched_at: datetime | None
    now: datetime


def not_before(settings: AutomaticSettings, launched_at: datetime | None) -> datetime | None:
    """Return when the next automatic round may start at the earliest; None for any time."""
    if launched_at is None or not settings.hours_between:
        return None
    return launched_at + timedelta(hours=settings.hours_between)


def blocker(settings: AutomaticSettings, facts: Facts) -> Blocker | None:
    """Return the first thing that stands in the way; None if only new judgments are waited for."""
    return next(_blockers(settings, facts), None)


def _blockers(settings: AutomaticSettings, facts: Facts) -> Iterator[Blocker]:
    if not facts.is_on:
        yield Blocker.OFF
    if facts.is_paused:
        yield Blocker.PAUSED
    if facts.is_labeling_paused:
        yield Blocker.LABELING_PAUSED
    if facts.has_open_round:
        yield Blocker.ROUND_OPEN
    if not facts.has_plan:
        yield Blocker.NO_PLAN
    if facts.launched_in_row >= settings.most_in_row:
        yield Blocker.IN_ROW
    earliest = not_before(settings, facts.launched_at)
    if earliest is not None and facts.now < earliest:
        yield Blocker.TOO_SOON
