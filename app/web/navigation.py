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
class MenuEntry:
    """A place; `under` names routes of pages that belong to it without being below its address."""

    route: str
    label: str
    icon: str
    under: tuple[str, ...] = ()
    is_for_labelers: bool = False


@dataclass(frozen=True, slots=True)
class MenuGroup:
    """Places under one heading; the first and the last group have none."""

    title: str
    entries: tuple[MenuEntry, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page is: its entry, and whether the page is the entry's own."""

    entry: MenuEntry
    group: MenuGroup
    is_own: bool


_GROUPS: Final = (
    MenuGroup("", (MenuEntry("overview.show", "Overview", "overview"),)),
    MenuGroup(
        "Data",
        (
            MenuEntry("prompts.show", "Prompts", "prompts"),
            MenuEntry("exports.show_all", "Exports", "exports"),
        ),
    ),
    MenuGroup(
        "Label",
        (
            MenuEntry("label.show", "Queue", "label", ("history.show",), is_for_labelers=True),
            MenuEntry("comparisons.show", "Comparisons", "comparisons"),
            MenuEntry("agreement.show", "Agreement", "agreement"),
            MenuEntry("labelers.show", "Labelers", "labelers"),
            MenuEntry("judges.show_all", "AI judges", "judges"),
            MenuEntry(
                "guidelines.show",
                "Guidelines",
                "guidelines",
                ("practice.show",),
                is_for_labelers=True,
            ),
        ),
    ),
    MenuGroup(
        "Train",
        (
            MenuEntry(
                "rounds.show_all", "Rounds", "rounds", ("climb.show", "jobs.show_of_project")
            ),
            MenuEntry("models.show_all", "Models", "models"),
        ),
    ),
    MenuGroup(
        "Evaluate",
        (
            MenuEntry("evaluations.show_all", "Evaluations", "evaluations"),
            MenuEntry("sides.show", "Side by side", "sides"),
            MenuEntry("chat.show", "Chat", "chat"),
            MenuEntry("scores.show_all", "Scores", "scores"),
            MenuEntry("leaderboard.show", "Leaderboard", "leaderboard"),
        ),
    ),
    MenuGroup("", (MenuEntry("settings.show", "Settings", "settings"),)),
)


def groups(_project: Project) -> tuple[MenuGroup, ...]:
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


def _addresses(project: Project, entry: MenuEntry) -> Iterator[str]:
    for route in (entry.route, *entry.under):
        if route == "jobs.show_of_project":
            address = addresses.path(route, slug=project.slug, job_id=0)
            yield address.removesuffix("/0")
        else:
            yield addresses.path(route, slug=project.slug)
