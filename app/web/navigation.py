"""The places of a project, in the order in which work goes through them.

The menu, the breadcrumbs and the command palette are made of this one structure. Labels are what
people read; an entry is found by the name of its route, and its icon in `_shared/icons.html`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.domain.goals import ProjectSection
from app.models import Project
from app.web import addresses


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """A place; `under` names routes of pages that belong to it without being below its address."""

    section: ProjectSection | None  # None: in every project
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
    MenuGroup("", (MenuEntry(ProjectSection.OVERVIEW, "overview.show", "Overview", "overview"),)),
    MenuGroup(
        "Data",
        (
            MenuEntry(ProjectSection.PROMPTS, "prompts.show", "Prompts", "prompts"),
            MenuEntry(ProjectSection.EXPORTS, "exports.show_all", "Exports", "exports"),
        ),
    ),
    MenuGroup(
        "Label",
        (
            MenuEntry(
                None, "label.show", "Queue", "label", ("history.show",), is_for_labelers=True
            ),
            MenuEntry(ProjectSection.COMPARISONS, "comparisons.show", "Comparisons", "comparisons"),
            MenuEntry(ProjectSection.AGREEMENT, "agreement.show", "Agreement", "agreement"),
            MenuEntry(ProjectSection.LABELERS, "labelers.show", "Labelers", "labelers"),
            MenuEntry(ProjectSection.LABELERS, "judges.show_all", "AI judges", "judges"),
            MenuEntry(
                ProjectSection.GUIDELINES,
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
                ProjectSection.ROUNDS,
                "rounds.show_all",
                "Rounds",
                "rounds",
                ("climb.show", "jobs.show_of_project"),
            ),
            MenuEntry(ProjectSection.MODELS, "models.show_all", "Models", "models"),
        ),
    ),
    MenuGroup(
        "Evaluate",
        (
            MenuEntry(
                ProjectSection.EVALUATIONS, "evaluations.show_all", "Evaluations", "evaluations"
            ),
            MenuEntry(ProjectSection.EVALUATIONS, "sides.show", "Side by side", "sides"),
            MenuEntry(ProjectSection.MODELS, "chat.show", "Chat", "chat"),
            MenuEntry(ProjectSection.MODELS, "scores.show_all", "Scores", "scores"),
            MenuEntry(ProjectSection.LEADERBOARD, "leaderboard.show", "Leaderboard", "leaderboard"),
        ),
    ),
    MenuGroup("", (MenuEntry(ProjectSection.SETTINGS, "settings.show", "Settings", "settings"),)),
)


def groups(project: Project) -> tuple[MenuGroup, ...]:
    """Return the groups of places that a project's lead is led to, by what the project is for."""
    shown = project.sections
    kept = (
        (group, tuple(one for one in group.entries if one.section is None or one.section in shown))
        for group in _GROUPS
    )
    return tuple(MenuGroup(group.title, entries) for group, entries in kept if entries)


def place(project: Project, path: str) -> Place | None:
    """Return where a page of a project is: under the entry whose address matches most of its path.

    Places that the project's goal does not lead to count too, because their addresses work.
    Every address is below that of the overview, which therefore holds only its own page.
    """
    found: tuple[int, Place] | None = None
    for group in _GROUPS:
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
