"""The places of a project, in the order in which work goes through them.

The menu, the breadcrumbs and the command palette are made of this one structure. Labels are what
people read; an entry is found by the name of its route, and its icon in `_shared/icons.html`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.models import Project
from app.web import addresses


@dataclass(frozen=True, slots=True)
class Entry:
    """A place; `under` names routes of pages that belong to it without being below its address."""

    route: str
    label: str
    icon: str
    under: tuple[str, ...] = ()
    is_for_labelers: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Places under one heading; the first and the last group have none."""

    title: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page is: its entry, and whether the page is the entry's own."""

    entry: Entry
    group: Group
    is_own: bool


_GROUPS: Final = (
    Group("", (Entry("overview.show", "Overview", "overview"),)),
    Group(
        "Data",
        (
            Entry("prompts.show", "Prompts", "prompts"),
            Entry("exports.show_all", "Exports", "exports"),
        ),
    ),
    Group(
        "Label",
        (
            Entry("label.show", "Queue", "label", ("history.show",), is_for_labelers=True),
            Entry("comparisons.show", "Comparisons", "comparisons"),
            Entry("agreement.show", "Agreement", "agreement"),
            Entry("labelers.show", "Labelers", "labelers"),
            Entry("judges.show_all", "AI judges", "judges"),
            Entry(
                "guidelines.show",
                "Guidelines",
                "guidelines",
                ("practice.show",),
                is_for_labelers=True,
            ),
        ),
    ),
    Group(
        "Train",
        (
            Entry("rounds.show_all", "Rounds", "rounds", ("climb.show", "jobs.show_of_project")),
            Entry("models.show_all", "Models", "models"),
        ),
    ),
    Group(
        "Evaluate",
        (
            Entry("evaluations.show_all", "Evaluations", "evaluations"),
            Entry("sides.show", "Side by side", "sides"),
            Entry("chat.show", "Chat", "chat"),
            Entry("scores.show_all", "Scores", "scores"),
            Entry("leaderboard.show", "Leaderboard", "leaderboard"),
        ),
    ),
    Group("", (Entry("settings.show", "Settings", "settings"),)),
)


def groups(_project: Project) -> tuple[Group, ...]:
    """Return the groups of places that a project's lead is led to."""
    return _GROUPS


def place(project: Project, path: str) -> Place | None:
    """Return where a page of a project is: under the entry whose address matches most of its path.

    Every address is below that of the overview, which therefore holds only its own page.
    """
    found: tuple[int, Place] | None = None
    for group in groups(project):
        for entry in group.entries:
            for address in _addresses(project, entry):
                is_own = path == address
                is_below = path.startswith(f"{address}/") and entry.route != "overview.show"
                if (is_own or is_below) and (found is None or len(address) > found[0]):
                    is_first = address == addresses.path(entry.route, slug=project.slug)
                    found = len(address), Place(entry, group, is_own and is_first)
    return found[1] if found else None


def _addresses(project: Project, entry: Entry) -> Iterator[str]:
    for route in (entry.route, *entry.under):
        if route == "jobs.show_of_project":
            address = addresses.path(route, slug=project.slug, job_id=0)
            yield address.removesuffix("/0")
        else:
            yield addresses.path(route, slug=project.slug)
