"""The leaderboard as flat rows, one per source, for files and the command line."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from app.domain.leaderboard import ALONE, ConnectedSources, Leaderboard, RankedSource
from app.domain.measures import Interval, Measure, Undefined
from app.errors import Invalid

AVERAGE = "the others on average"
OTHER_GROUP = "no chain of votes connects it with the reference"
REFERENCE = "it is the reference"


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """A source with its figures; `reason` says why a win rate or its interval is missing.

    Groups are numbered from 1; 0 is a source that no vote compares. `win_rate` is against the
    reference, or else against the other sources of the group on average.
    """

    group: int
    place: int
    best_rank: int | None
    worst_rank: int | None
    source: str
    win_rate: float | None
    low: float | None
    high: float | None
    against: str
    strength: float | None
    strength_low: float | None
    strength_high: float | None
    wins: int
    ties: int
    losses: int
    prompts: int
    mean_length: float | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values."""
        return asdict(self)


def of_board(board: Leaderboard, reference: str = "") -> Iterator[LeaderboardRow]:
    """Yield a row for each source, by group and place; those without votes come last.

    Raises:
        Invalid: no source has the name of the reference.
    """
    check_reference(board, reference)
    for number, group in enumerate(board.groups, 1):
        for place, source in enumerate(group.sources, 1):
            yield _row(number, place, source, against(group, place - 1, reference), reference)
    for name in board.alone:
        yield LeaderboardRow(
            0, 0, None, None, name, *(None,) * 3, "", *(None,) * 3, 0, 0, 0, 0, None, ALONE
        )


def check_reference(board: Leaderboard, reference: str) -> None:
    """Check that a source has the name of the reference, if one is given.

    Raises:
        Invalid: none has.
    """
    names = sorted(source.name for source in board.sources)
    if reference and reference not in names:
        known = f"; there are {', '.join(names)}" if names else ""
        raise Invalid(f"reference must be a model with votes, not {reference!r}{known}")


def against(group: ConnectedSources, at: int, reference: str) -> Measure:
    """Return the win rate of a group's source against the reference, or the others on average."""
    source = group.sources[at]
    if not reference:
        return source.share
    names = [each.name for each in group.sources]
    if reference not in names:
        return Measure.missing(OTHER_GROUP, source.prompts)
    if source.name == reference:
        return Measure.missing(REFERENCE, source.prompts)
    place = names.index(reference)
    share, low, high = (table[at][place] for table in (group.share, group.low, group.high))
    if share is None:
        return Measure.missing(group.reason, source.prompts)
    if low is None or high is None:
        interval = source.share.interval
        own = interval if isinstance(interval, Undefined) else group.sources[place].share.interval
        return Measure(share, own, source.prompts)
    return Measure(share, Interval(low, high), source.prompts)


def _row(
    group: int, place: int, source: RankedSource, share: Measure, reference: str
) -> LeaderboardRow:
    value, low, high, reason = _parts(share)
    strength, strength_low, strength_high, _ = _parts(source.strength)
    return LeaderboardRow(
        group,
        place,
        source.best_rank,
        source.worst_rank,
        source.name,
        value,
        low,
        high,
        reference or AVERAGE,
        strength,
        strength_low,
        strength_high,
        source.wins,
        source.ties,
        source.losses,
        source.prompts,
        round(source.length, 1),
        reason,
    )


def _parts(measure: Measure) -> tuple[float | None, float | None, float | None, str]:
    if isinstance(measure.value, Undefined):
        return None, None, None, measure.value.reason
    if isinstance(measure.interval, Undefined):
        return measure.value, None, None, measure.interval.reason
    return measure.value, measure.interval.low, measure.interval.high, ""
