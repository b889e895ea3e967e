"""The climb: what each round's policy reached, as a picture, a table and files."""

from dataclasses import dataclass

from fastapi import Request, Response

from app.errors import NotFound
from app.models import Round
from app.services.rounds import climb, round_progress
from app.web import addresses, climb_figures, climb_view
from app.web.climb_view import ClimbView
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import render, render_svg

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class ClimbPage:
    """The climb, and the round under way."""

    view: ClimbView
    current: Round | None


@router.get("/p/{slug}/climb")
def show(request: Request, access: LeadAccess) -> Response:
    """Show the climb."""
    current = round_progress.current(access.session, access.project.id)
    return render(request, "climb/page.html", ClimbPage(_view(access), current))


@router.get("/p/{slug}/climb/picture.svg")
def picture(access: LeadAccess) -> Response:
    """Return the picture as a file.

    Raises:
        NotFound: no round is on the climb yet.
    """
    view = _view(access)
    if view.picture is None:
        raise NotFound("no round of this project has reached its decision, so there is no picture")
    return render_svg("climb/picture.svg", view.picture, _attachment(access, "svg"))


@router.get("/p/{slug}/climb/figures.csv")
def figures(access: LeadAccess) -> Response:
    """Return the figures as a file for spreadsheets."""
    text = climb_figures.csv_text(climb.of_project(access.session, access.project))
    return Response(text, headers=_attachment(access, "csv"), media_type="text/csv; charset=utf-8")


def _view(access: ProjectAccess) -> ClimbView:
    found = climb.of_project(access.session, access.project)
    return climb_view.view(found, access.project)


def _attachment(access: ProjectAccess, ending: str) -> dict[str, str]:
    name = f"{access.project.slug}-climb.{ending}"
    return {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
