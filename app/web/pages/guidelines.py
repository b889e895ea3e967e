"""Guidelines: the version in force, publishing the next, and what changed between two."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import BaseModel

from app.models import Guidelines
from app.services import agreement, projects
from app.services.agreement import Group
from app.services.projects import GuidelinesText
from app.web.deps import LeadAccess
from app.web.render import redirect, render

router = APIRouter(include_in_schema=False)

PARTS = (("rules", "The rules"), ("edge_cases", "Edge cases"), ("body", "The whole text"))
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


class GuidelinesForm(BaseModel):
    """The text of the next version."""

    rules: str = ""
    edge_cases: str = ""
    body: str = ""
    summary: str = ""
    preview: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of words: the same in both, only in the old, or only in the new."""

    kind: str  # same, old, new
    text: str


@dataclass(frozen=True, slots=True)
class GuidelinesPage:
    """The version in force, all versions, and how agreement was under each."""

    shown: Guidelines
    history: list[Guidelines]
    agreed: dict[str, Group]

    @property
    def is_newest(self) -> bool:
        """True for the version in force."""
        return self.shown.version == self.history[0].version

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The parts that are not empty, with their titles."""
        named = ((title, getattr(self.shown, name)) for name, title in PARTS)
        return tuple((title, text) for title, text in named if text.strip())


@dataclass(frozen=True, slots=True)
class EditPage:
    """The form, and how its text will look."""

    form: GuidelinesForm
    newest: Guidelines
    changes: list[tuple[str, list[Piece]]]
    error: str = ""


@dataclass(frozen=True, slots=True)
class DiffPage:
    """What changed from one version to another."""

    old: Guidelines
    new: Guidelines
    changes: list[tuple[str, list[Piece]]]


@router.get("/p/{slug}/guidelines")
def show(
    request: Request, access: LeadAccess, version: Annotated[int | None, Query()] = None
) -> Response:
    """Show a version; the newest by default."""
    session, project_id = access.session, access.project.id
    page = GuidelinesPage(
        projects.guidelines(session, project_id, version),
        projects.guidelines_history(session, project_id),
        {one.name: one for one in agreement.by_version(session, project_id)},
    )
    return render(request, "guidelines/page.html", page)


@router.get("/p/{slug}/guidelines/edit")
def edit(request: Request, access: LeadAccess) -> Response:
    """Show the form with the newest text."""
    newest = projects.guidelines(access.session, access.project.id)
    form = GuidelinesForm(rules=newest.rules, edge_cases=newest.edge_cases, body=newest.body)
    return render(request, "guidelines/edit.html", EditPage(form, newest, []))


@router.post("/p/{slug}/guidelines/edit")
def publish(
    request: Request, access: LeadAccess, form: Annotated[GuidelinesForm, Form()]
) -> Response:
    """Publish the next version, or show how it will look."""
    newest = projects.guidelines(access.session, access.project.id)
    page = EditPage(form, newest, changes(newest, form), _problem(newest, form))
    if form.preview or page.error:
        status = 422 if page.error and not form.preview else 200
        return render(request, "guidelines/edit.html", page, status=status)
    text = GuidelinesText(form.rules, form.edge_cases, form.body, form.summary)
    row = projects.publish_guidelines(
        access.session, access.project, text, author_id=access.user.id
    )
    notice = f"Version {row.version} is in force; labelers are told that it changed."
    return redirect(request, f"/p/{access.project.slug}/guidelines", notice=notice)


@router.get("/p/{slug}/guidelines/diff")
def diff(
    request: Request, access: LeadAccess, old: Annotated[int, Query()], new: Annotated[int, Query()]
) -> Response:
    """Show what changed between two versions, word by word."""
    first = projects.guidelines(access.session, access.project.id, old)
    second = projects.guidelines(access.session, access.project.id, new)
    page = DiffPage(first, second, changes(first, second))
    return render(request, "guidelines/diff.html", page)


def changes(old: Guidelines, new: Guidelines | GuidelinesForm) -> list[tuple[str, list[Piece]]]:
    """Return the parts that differ, each as pieces."""
    pairs = ((title, getattr(old, name), getattr(new, name)) for name, title in PARTS)
    return [
        (title, list(pieces(_plain(before), _plain(after))))
        for title, before, after in pairs
        if _plain(before) != _plain(after)
    ]


def pieces(old: str, new: str) -> Iterator[Piece]:
    """Compare two texts word by word."""
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            yield Piece("same", "".join(before[a:b]))
            continue
        if b > a:
            yield Piece("old", "".join(before[a:b]))
        if d > c:
            yield Piece("new", "".join(after[c:d]))


def _problem(newest: Guidelines, form: GuidelinesForm) -> str:
    if not (form.rules.strip() or form.body.strip()):
        return "guidelines need rules or a text"
    return "" if changes(newest, form) else "nothing differs from the version in force"


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()
