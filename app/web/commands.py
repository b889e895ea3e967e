"""What the command palette offers somebody: projects, pages and actions that they may open.

It only leads to pages: whoever follows an address is authorized there like everybody else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.models import Membership, Project, Role, User
from app.web import addresses, navigation

PROJECTS_MOST: Final = 500
PROJECTS, PAGES, ACTIONS, ACCOUNT, INSTALLATION = (
    "Projects",
    "Pages",
    "Actions",
    "Account",
    "Installation",
)
_ACTIONS: Final = (
    ("rounds.new", "", "Plan a round"),
    ("prompts.show", "#file", "Import a file"),
    ("exports.show_all", "#new", "Create an export"),
    ("guidelines.edit", "", "Edit the guidelines"),
    ("practice.show_set", "", "Set up practice"),
    ("labeler_weights.show", "", "Weight labelers"),
    ("automatic_rounds.show", "", "Set up automatic rounds"),
    ("instruction.show", "", "Edit the instruction"),
    ("climb.show", "", "Compare rounds"),
)
_OF_LABELERS: Final = (
    ("label.show", "Label"),
    ("history.show", "Your history"),
    ("guidelines.show", "Guidelines"),
)
_OF_ACCOUNT: Final = (
    ("home.show", "Your projects"),
    ("account.show", "Account"),
    ("two_factor.show", "Two-factor authentication"),
    ("tokens.show", "API tokens"),
    ("learning.show_glossary", "Glossary"),
)
_OF_ADMINISTRATORS: Final = (
    ("projects.new", "New project"),
    ("people.show", "People"),
    ("jobs.show", "Jobs and workers"),
    ("audit.show", "Audit log"),
)


@dataclass(frozen=True, slots=True)
class Command:
    """A place to go to, under a heading."""

    group: str
    label: str
    address: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Commands:
    """What is offered, and how many projects are left off."""

    commands: list[Command]
    left_off: int


def of(user: User, own: list[tuple[Project, Membership | None]], slug: str | None) -> Commands:
    """Return what a user may go to.

    Args:
        user: who asks.
        own: the projects that they may open, with their membership.
        slug: of the project whose pages are offered; nothing if it is none of these.
    """
    found: list[Command] = []
    for project, member in own:
        if project.slug == slug:
            found += _of_project(project, is_lead=_is_lead(user, member))
    for project, member in own[:PROJECTS_MOST]:
        route = "overview.show" if _is_lead(user, member) else "label.show"
        address = addresses.path(route, slug=project.slug)
        found.append(
            Command(PROJECTS, project.name, address, "this project" * (project.slug == slug))
        )
    found += (Command(ACCOUNT, label, addresses.path(route)) for route, label in _OF_ACCOUNT)
    if user.is_admin:
        found += (
            Command(INSTALLATION, label, addresses.path(route))
            for route, label in _OF_ADMINISTRATORS
        )
    return Commands(found, max(0, len(own) - PROJECTS_MOST))


def _of_project(project: Project, *, is_lead: bool) -> Iterator[Command]:
    if not is_lead:
        for route, label in _OF_LABELERS:
            yield Command(PAGES, label, addresses.path(route, slug=project.slug), project.name)
        return
    for group in navigation.groups(project):
        for entry in group.entries:
            address = addresses.path(entry.route, slug=project.slug)
            yield Command(PAGES, entry.label, address, group.title)
    for route, part, label in _ACTIONS:
        yield Command(ACTIONS, label, addresses.path(route, slug=project.slug) + part)


def _is_lead(user: User, member: Membership | None) -> bool:
    return user.is_admin or (member is not None and member.role == Role.LEAD)
