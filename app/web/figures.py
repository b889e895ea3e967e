"""Every figure of a report by name, so that the API has whatever a page can show.

A report is a dataclass whose fields are figures, or parts with figures of their own.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from app.domain.measures import Measure, Undefined

NO_INTERVAL = "none is computed for this figure"


def named(report: object) -> dict[str, Measure]:
    """Return the measures, numbers and undefined figures of a report; parts give dotted names.

    Counts are left out, and so are lists of groups, which have figures of their own.
    """
    return dict(_figures(report, ""))


def _figures(report: object, prefix: str) -> Iterator[tuple[str, Measure]]:
    if not is_dataclass(report):
        return
    for field in fields(report):
        value = getattr(report, field.name)
        name = f"{prefix}{field.name}"
        if isinstance(value, Measure):
            yield name, value
        elif isinstance(value, Undefined):
            yield name, Measure(value, value, 0)
        elif isinstance(value, float):
            yield name, Measure(value, Undefined(NO_INTERVAL), 0)
        else:
            yield from _figures(value, f"{name}.")
