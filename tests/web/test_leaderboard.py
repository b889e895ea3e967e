"""The leaderboard as its page, its file and the API show it."""

import csv
import io
import re
from collections.abc import Callable

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.api_types import ApiLeaderboard
from app.db import Database
from app.domain.goals import Goal
from app.domain.leaderboard import ConnectedSources, RankedSource
from app.domain.measures import Interval, Measure, Undefined
from app.models import Role, User
from app.services.people import accounts
from app.services.quality import kept_figures
from app.web.leaderboard_view import Doubt, GroupView, SourceRow
from tests.services import compared_sources, sample

HTML = {"accept": "text/html"}


@pytest.fixture
def lead(sign_in: Callable[..., TestClient], database: Database) -> TestClient:
    """Give the lead of a project with compared sources, and of one without any."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        for slug in ("desk", "empty"):
            project = sample.make_project(session, slug=slug, overlap=1)
            accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=None)
            if slug == "desk":
                made = compared_sources.judged(session, project, [user], rounds=4)
                compared_sources.add_judge(session, project, made[:3])
                compared_sources.compare(session, project, 90, ("=north", "alpha"))
    return browser


def test_page_file_and_api_say_the_same(lead: TestClient) -> None:
    found = lead.get("/api/v1/projects/desk/leaderboard?reference=beta&length=1").json()
    (group,) = found["groups"]
    assert ApiLeaderboard.model_validate(found).model_dump() == found, "as the client reads it"
    assert found["without_votes"] == ["=north"]
    assert (found["votes"], found["judgments_of_people"], found["judgments_of_judges"]) == (
        24,
        24,
        0,
    )
    assert {category["category"] for category in found["categories"]} == {"(none)", "math", "prose"}
    answer = lead.get("/p/desk/leaderboard/figures.csv?reference=beta&length=1")
    assert "desk-leaderboard.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["source"] for row in rows] == [
        *(source["source"] for source in group["sources"]), "'=north",
    ]  # fmt: skip
    for row, source in zip(rows, group["sources"], strict=False):
        value = source["win_rate"]["value"]
        assert row["win_rate"] == ("" if value is None else repr(value))
        assert row["wins"] == str(source["wins"])
        assert (row["against"], row["group"]) == ("beta", "1")
    assert next(row["reason"] for row in rows if row["source"] == "beta") == "it is the reference"
    assert rows[-1]["reason"] == "no vote compares it with another source"
    page = lead.get("/p/desk/leaderboard?reference=beta&length=1", headers=HTML).text
    assert group["verdict"] in page
    is_sure = group["sources"][0]["worst_rank"] == 1
    assert f'class="verdict tone-{"good" if is_sure else "early"}"' in page
    assert ("Ask labelers" in page) != is_sure
    assert "Win rate against beta" in page
    for source in group["sources"]:
        if source["source"] != "beta":
            assert f"{100 * source['win_rate']['value']:.1f}\N{NO-BREAK SPACE}%" in page


def test_what_is_ranked_is_called_a_model_as_where_it_is_imported(lead: TestClient) -> None:
    page = lead.get("/p/desk/leaderboard", headers=HTML).text
    assert '<th scope="col">Model</th>' in page
    read = re.sub(r"<(style|script|nav).*?</\1>|<[^>]+>", " ", page.split("<main")[1])
    assert "source" not in read.lower()


@pytest.mark.parametrize(
    ("worst_rank", "tone", "word"), [(1, "good", "Clear winner"), (2, "early", "Too early")]
)
def test_only_a_sure_winner_has_a_tone_of_its_own(worst_rank: int, tone: str, word: str) -> None:
    sources = tuple(
        RankedSource(name, _share(-0.1, 0.1), _share(0.3, 0.7), 1, 1, 1, 90, 1, worst, 9)
        for name, worst in (("a", worst_rank), ("b", 2))
    )
    group = ConnectedSources(
        sources, (), (), (), (), (), (), (), is_limited=True,
        length_effect=Measure.missing("none"), prompts=90,
    )  # fmt: skip
    assert GroupView(group, "").tone == {"tone": tone, "word": word}


def test_filters_are_kept_and_what_is_missing_is_said(lead: TestClient) -> None:
    page = lead.get("/p/desk/leaderboard?by=both&category=math", headers=HTML).text
    assert "judgments of people and" in page
    assert "figures.csv?by=both&amp;category=math" in page
    assert (
        "No votes in this selection" in lead.get("/p/desk/leaderboard?tag=none", headers=HTML).text
    )
    empty = lead.get("/p/empty/leaderboard", headers=HTML).text
    assert "No responses to compare yet" in empty
    assert 'href="/p/empty/prompts"' in empty
    assert (
        "This project has no AI judge"
        in lead.get("/p/empty/leaderboard?by=judges", headers=HTML).text
    )
    refused = lead.get("/p/desk/leaderboard?reference=nobody", headers=HTML)
    assert refused.status_code == 422
    assert "must be a model with votes, not &#39;nobody&#39;" in refused.text
    assert "alpha" in refused.text
    assert lead.get("/api/v1/projects/desk/leaderboard?reference=nobody").status_code == 422
    assert lead.get("/api/v1/projects/desk/leaderboard?sort=name").status_code == 422
    assert lead.get("/api/v1/projects/empty/leaderboard").json()["groups"] == []


def test_a_win_rate_that_decides_nothing_is_marked_by_the_interval_that_is_shown() -> None:
    source = RankedSource(
        "a", Measure(0.5, Interval(0, 1), 90), _share(0.48, 0.52), 1, 1, 1, 90, 1, 2, 9
    )
    too_close = SourceRow(source, _share(0.3, 0.7), is_reference=False).doubt
    assert too_close is not None
    assert (too_close.name, "±10 points" in too_close.reason) == ("too close to call", True)
    for low, high in ((0.51, 0.9), (0.45, 0.55)):
        assert SourceRow(source, _share(low, high), is_reference=False).doubt is None
    without = Measure(0.5, Undefined("too few prompts"), 4)
    assert SourceRow(source, without, is_reference=False).doubt == Doubt(
        "no interval", "too few prompts"
    )
    for nothing in (without, Measure.missing("alone")):
        assert SourceRow(source, nothing, is_reference=True).doubt is None


def test_the_page_says_in_each_bar_where_even_is(lead: TestClient) -> None:
    page = lead.get("/p/desk/leaderboard", headers=HTML).text
    bars = page.count('class="interval-value"')
    assert bars == page.count('class="interval-mark" x="49.7"') > 0
    assert "not enough" not in page


def _share(low: float, high: float) -> Measure:
    return Measure((low + high) / 2, Interval(low, high), 90)


@pytest.mark.parametrize(("upsets", "is_sure"), [(0, True), (3, False)])
def test_the_overview_opens_with_the_verdict_of_the_leaderboard(
    sign_in: Callable[..., TestClient],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    upsets: int,
    is_sure: bool,
) -> None:
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = sample.make_project(session, slug="models", overlap=1, goal=Goal.COMPARE)
        accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=None)
        for at in range(60):
            comparison = compared_sources.compare(session, project, at, ("alpha", "beta"))
            names = ("beta", "alpha") if at % 6 < max(upsets, 1) else ("alpha", "beta")
            compared_sources.prefer(session, comparison, user, *names)
    (group,) = browser.get("/api/v1/projects/models/leaderboard").json()["groups"]
    said = browser.get("/api/v1/projects/models/verdict").json()
    assert (said["sentence"], said["tone"]) == (group["verdict"], "good" if is_sure else "early")
    assert ("sure at 95" in said["sentence"]) == is_sure
    page = browser.get("/p/models", headers=HTML).text
    assert group["verdict"].removesuffix(".") in page
    assert f'class="card next tone-{said["tone"]}"' in page
    assert 'class="btn main" href="/p/models/leaderboard"' in page
    monkeypatch.setattr(kept_figures, "is_costly", lambda *_: True)
    said = browser.get("/api/v1/projects/models/verdict").json()
    assert (said["sentence"], said["tone"]) == ("See which model people prefer.", "next")
