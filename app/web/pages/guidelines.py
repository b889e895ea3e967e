"""Guidelines: the current version, publishing the next, and the changes between two."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.domain import text_diff
from app.domain.text_diff import Piece
from app.errors import FigurePending
from app.models import Guidelines
from app.services.project import projects
from app.services.project.projects import GuidelinesText
from app.services.quality import agreement
from app.services.quality.agreement import AgreementGroup
from app.web import addresses
from app.web.deps import LabelerAccess, LeadAccess
from app.web.render import redirect, render

router = addresses.page_router()

PARTS = (("rules", "Rules"), ("edge_cases", "Edge cases"), ("body", "Full text"))
Changes = list[tuple[str, list[Piece]]]


class GuidelinesForm(BaseModel):
    """The text of the next version."""

    rules: str = ""
    edge_cases: str = ""
    body: str = ""
    summary: str = ""
    preview: bool = False


@dataclass(frozen=True, slots=True)
class GuidelinesPage:
    """A version and the list of all versions; for leads, with the agreement under each."""

    shown: Guidelines
    history: list[Guidelines]
    agreed: dict[str, AgreementGroup]
    is_pending: bool  # agreement is still being computed
    is_lead: bool
    read_version: int

    @property
    def is_newest(self) -> bool:
        """Whether this is the current version."""
        return self.shown.version == self.history[0].version

    @property
    def is_news(self) -> bool:
        """Whether the viewer is a labeler who has not read the current version."""
        return not self.is_lead and self.is_newest and self.shown.version > self.read_version

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The parts that are not empty, with their titles."""
        named = ((title, getattr(self.shown, name)) for name, title in PARTS)
        return tuple((title, text) for title, text in named if text.strip())


@dataclass(frozen=True, slots=True)
class GuidelinesEditPage:
    """The form, with a preview of its text."""

    form: GuidelinesForm
    newest: Guidelines
    changes: Changes
    error: str = ""


@dataclass(frozen=True, slots=True)
class DiffPage:
    """The changes from one version to another."""

    old: Guidelines
    new: Guidelines
    history: list[Guidelines]
    changes: Changes


@router.get("/p/{slug}/guidelines")
def show(
    request: Request, access: LabelerAccess, version: Annotated[int | None, Query()] = None
) -> Response:
    """Show a version, by default the newest."""
    session, project_id = access.session, access.project.id
    agreed = _agreed(session, project_id) if access.is_lead else ()
    page = GuidelinesPage(
        projects.guidelines(session, project_id, version),
        projects.guidelines_history(session, project_id),
        {group.name: group for group in agreed or ()},
        agreed is None,
        access.is_lead,
        access.membership.guidelines_read_version if access.membership else 0,
    )
    return render(request, "guidelines/page.html", page)


@router.post("/p/{slug}/guidelines/read")
def read(request: Request, access: LabelerAccess, version: Annotated[int, Form()]) -> Response:
    """Record that the viewer has read a version, and continue to labeling."""
    if access.membership is not None:
        projects.mark_guidelines_read(access.session, access.membership, version)
    return redirect(request, addresses.path("label.show", slug=access.project.slug))


@router.get("/p/{slug}/guidelines/edit")
def edit(request: Request, access: LeadAccess) -> Response:
    """Show the form with the newest text."""
    newest = projects.guidelines(access.session, access.project.id)
    form = GuidelinesForm(rules=newest.rules, edge_cases=newest.edge_cases, body=newest.body)
    return render(request, "guidelines/edit.html", GuidelinesEditPage(form, newest, []))


@router.post("/p/{slug}/guidelines/edit")
def publish(
    request: Request, access: LeadAccess, form: Annotated[GuidelinesForm, Form()]
) -> Response:
    """Publish the next version, or preview it."""
    newest = projects.guidelines(access.session, access.project.id)
    page = GuidelinesEditPage(form, newest, changes(newest, form), _problem(newest, form))
    if form.preview or page.error:
        status = 422 if page.error and not form.preview else 200
        return render(request, "guidelines/edit.html", page, status=status)
    text = GuidelinesText(form.rules, form.edge_cases, form.body, form.summary)
    row = projects.publish_guidelines(
        access.session, access.project, text, author_id=access.user.id
    )
    notice = f"Version {row.version} is published; labelers will be asked to read it."
    return redirect(
        request, addresses.path("guidelines.show", slug=access.project.slug), notice=notice
    )


@router.get("/p/{slug}/guidelines/diff")
def diff(
    request: Request,
    access: LabelerAccess,
    old: Annotated[int, Query()],
    new: Annotated[int, Query()],
) -> Response:
    """Show the changes between any two versions."""
    first = projects.guidelines(access.session, access.project.id, old)
    second = projects.guidelines(access.session, access.project.id, new)
    history = projects.guidelines_history(access.session, access.project.id)
    page = DiffPage(first, second, history, changes(first, second))
    return render(request, "guidelines/diff.html", page)


def changes(old: Guidelines, new: Guidelines | GuidelinesForm) -> Changes:
    """Return the parts that differ, each as a list of pieces."""
    compared = (
        (title, text_diff.pieces(getattr(old, name), getattr(new, name))) for name, title in PARTS
    )
    return [(title, pieces) for title, pieces in compared if pieces]


def _problem(newest: Guidelines, form: GuidelinesForm) -> str:
    if not (form.rules.strip() or form.body.strip()):
        return "the guidelines need rules or a full text"
    return "" if changes(newest, form) else "nothing differs from the current version"


def _agreed(session: Session, project_id: int) -> tuple[AgreementGroup, ...] | None:
    """Return the agreement under each version; None while it is being computed."""
    try:
        return tuple(agreement.by_version(session, project_id))
    except FigurePending:
        return None
