"""Which options an export format applies, and the refusal of those that it cannot apply.

A manifest states the options that were applied, and no others.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.errors import Invalid
from app.formats import containers, writers
from app.formats.manifest import OPTION_TITLES
from app.services.datasets import export_rows, instructed
from app.services.datasets.judged_comparisons import Aggregate, ExportOptions
from app.services.datasets.preferences import Details

DEFAULT_FORMAT = "trl-implicit"

_OF_EVERY_FORMAT = (
    *("rounds", "purposes", "splits", "include_adjudicated"),
    *("categories", "tags", "since", "since_export", "container", "license"),
)
_OF_JUDGES = (export_rows.UNPAIRED, export_rows.TRAINING)
"""Formats besides those of pairs that can hold AI judgments; "rich" holds votes of people alone."""
_STATED_IF_SET = ("since", "since_export", "license")
_STATED_APART = ("container", "license")  # in the manifest's `file` and `licence`
_WHY_NOT = {
    export_rows.RICH: "holds every vote of people",
    export_rows.UNPAIRED: "labels completions vote by vote",
    export_rows.TRAINING: "holds every vote and the vote shares of every pair",
    **dict.fromkeys(export_rows.DEMONSTRATIONS, "holds every text once"),
}


def applied(format: str) -> tuple[str, ...]:
    """Return the names of the options that a format applies, in the order of the page."""
    if format in writers.PREFERENCES:
        return tuple(OPTION_TITLES)
    names = _OF_EVERY_FORMAT if format in instructed.NEVER else (*_OF_EVERY_FORMAT, "instruction")
    if format in _OF_JUDGES:
        names = (*names, "judged_by")
    return tuple(name for name in OPTION_TITLES if name in names)


def check(format: str, options: ExportOptions) -> None:
    """Check that a format can apply what the options ask for; a default asks for nothing.

    Raises:
        Invalid: there is no such format, it cannot apply an option, or it cannot be written in the
            container.
    """
    export_rows.check(format)
    containers.check(format, options.container)
    wanted, defaults = options.to_json(), ExportOptions().to_json()
    for name, title in OPTION_TITLES.items():
        if name not in applied(format) and wanted[name] != defaults[name]:
            raise Invalid(
                f"format {format!r} {_WHY_NOT[format]}, so {name} ({title}) does not apply to it: "
                f"leave it at {defaults[name]}, not {wanted[name]}"
            )
    instructed.check(format, options.instruction)
    is_share = options.aggregate is Aggregate.VOTE_SHARE
    if is_share and format in writers.PREFERENCES and format not in writers.WITH_MARGIN:
        raise Invalid(
            f"{export_rows.TITLES[format]} has no place for a share of votes: choose a majority "
            "vote or one row per vote, or one of the TRL formats"
        )


def stored(format: str, options: ExportOptions) -> dict[str, Any]:
    """Return the options that a format applies, as plain JSON, without those that are unset."""
    values = options.to_json()
    return {
        name: values[name]
        for name in applied(format)
        if name not in _STATED_IF_SET or values[name] not in (None, "")
    }


def filter_of(format: str, options: ExportOptions) -> dict[str, str | float | bool]:
    """Return the options that a format applies, as the filter of a manifest."""
    shown = {
        name: value
        for name, value in with_moment(stored(format, options)).items()
        if name not in _STATED_APART
    }
    return {
        name: (", ".join(map(str, value)) or "all") if isinstance(value, list) else value
        for name, value in shown.items()
    }


def with_moment(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored options with the moment and the export that it is of as one text."""
    shown = dict(options)
    number = shown.pop("since_export", None)
    if shown.get("since"):
        moment = datetime.fromisoformat(shown["since"]).astimezone(UTC)
        exported = "" if number is None else f" (export {number})"
        shown["since"] = f"{moment.isoformat()}{exported}"
    return shown


def details(format: str) -> Details:
    """Return what a format needs beyond what was preferred."""
    return Details(token_ids=format == export_rows.TRAINING, votes=format == export_rows.RICH)
