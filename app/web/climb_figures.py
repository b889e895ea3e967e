"""The figures of the climb by name, for its table, its CSV and the API."""

import csv
import io
from collections.abc import Callable, Iterator

from app.domain import climb
from app.domain.climb import Climb, ClimbRound
from app.domain.measures import Interval, Measure, Undefined
from app.web import figures

ENOUGH: dict[str, Callable[[Measure], bool]] = {
    **dict.fromkeys(("votes_sft", "scores_sft", "votes_last", "scores_last"), climb.is_even_enough),
    **dict.fromkeys(("agreement", "accuracy"), climb.is_precise),
}
"""Of each figure that can be too uncertain to say anything, whether it is not."""

_COLUMNS = (
    *("round", "state", "policy", "previous", "initial", "votes_by", "scores_by"),
    *("figure", "value", "low", "high", "n", "is_enough", "reason"),
)


def named(round_: ClimbRound) -> dict[str, Measure]:
    """Return a round's figures by name."""
    return figures.named(round_)


def is_enough(name: str, measure: Measure) -> bool | None:
    """Whether a figure is certain enough; None where it is not measured, or has no such limit."""
    if name not in ENOUGH or isinstance(measure.value, Undefined):
        return None
    return ENOUGH[name](measure)


def csv_text(shown: Climb) -> str:
    """Return a line for each figure of each round; those not measured have a reason, no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for round_ in shown.rounds:
        writer.writerows(_rows(round_))
    return text.getvalue()


def _rows(round_: ClimbRound) -> Iterator[list[object]]:
    models = (round_.policy, round_.last, round_.initial, round_.votes_by or "people")
    common = [round_.number, str(round_.state), *map(_safe, (*models, round_.scores_by))]
    for name, measure in named(round_).items():
        low = high = ""
        if isinstance(measure.interval, Interval):
            low, high = repr(measure.interval.low), repr(measure.interval.high)
        is_missing = isinstance(measure.value, Undefined)
        enough = is_enough(name, measure)
        yield [
            *common,
            name,
            "" if is_missing else repr(measure.value),
            low,
            high,
            measure.n or "",
            "" if enough is None else str(enough).lower(),
            measure.value.reason if isinstance(measure.value, Undefined) else "",
        ]


def _safe(cell: str) -> str:
    """Return a cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
