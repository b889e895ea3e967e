"""The leaderboard: which sources people prefer, and how sure that is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request, Response

from app.errors import Invalid
from app.services.judging import judges
from app.services.project import prompt_search
from app.services.quality import kept_figures, waiting_prompts
from app.services.quality.leaderboard import CategoryLeaderboards, VotesBy
from app.services.quality.leaderboard_filters import LeaderboardFilters
from app.web import addresses, leaderboard_figures, leaderboard_view
from app.web.deps import LeadAccess, ProjectAccess
from app.web.leaderboard_view import LeaderboardView
from app.web.render import render

router = addresses.page_router()

Filters = Annotated[LeaderboardFilters, Query()]


@dataclass(frozen=True, slots=True)
class LeaderboardPage:
    """The leaderboard with its filters, and what an empty one lacks."""

    view: LeaderboardView
    asked: LeaderboardFilters
    by: dict[str, str]
    categories: list[str]
    tags: list[str]
    has_judges: bool
    waiting: int  # prompts whose responses labelers have not been asked about
    as_of: datetime | None  # of figures that newer judgments are not in yet
    error: str = ""

    def address(self, **changed: str | bool) -> str:
        """Return the query with some filters changed; those that are off are left out."""
        values = {**self.asked.model_dump(), **changed}
        if values["by"] == VotesBy.PEOPLE:
            values["by"] = ""
        return urlencode(
            {name: "1" if value is True else str(value) for name, value in values.items() if value}
        )


@router.get("/p/{slug}/leaderboard")
def show(request: Request, access: LeadAccess, asked: Filters) -> Response:
    """Show the leaderboard; an unknown reference is named, and the others are shown."""
    try:
        page = _page(access, asked)
    except Invalid as error:
        page = _page(access, asked.model_copy(update={"reference": ""}), str(error))
        return render(request, "leaderboard/page.html", page, status=422)
    return render(request, "leaderboard/page.html", page)


@router.get("/p/{slug}/leaderboard/figures.csv")
def figures(access: LeadAccess, asked: Filters) -> Response:
    """Return the leaderboard as a file for spreadsheets."""
    report = asked.read(access.session, access.project.id)
    text = leaderboard_figures.csv_text(report.board, asked.reference)
    headers = {
        "content-disposition": f'attachment; filename="{access.project.slug}-leaderboard.csv"',
        "cache-control": "no-store",
    }
    return Response(text, headers=headers, media_type="text/csv; charset=utf-8")


def _page(access: ProjectAccess, asked: LeaderboardFilters, error: str = "") -> LeaderboardPage:
    session, project = access.session, access.project
    report = asked.read(session, project.id)
    by_category = CategoryLeaderboards()
    if report.board.groups:
        by_category = asked.by_category(session, project.id)
    return LeaderboardPage(
        LeaderboardView(report, by_category, asked.reference),
        asked,
        {str(by): words for by, words in leaderboard_view.BY.items()},
        prompt_search.categories(session, project.id),
        prompt_search.tags(session, project.id),
        bool(judges.of_project(session, project.id)),
        0 if report.board.groups else waiting_prompts.count(session, project),
        kept_figures.as_of(session),
        error,
    )
