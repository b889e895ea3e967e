"""Advice on more labelers or more comparisons, on the launch page and through the API."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import Database
from app.domain import overlap_advice
from app.domain.judgment_kinds import JudgmentKind
from app.domain.measures import Interval, Measure
from app.errors import FigurePending
from app.models import Project, Role, User
from app.services.people import accounts
from app.services.quality import agreement
from app.web import overlap_words
from tests.services.rounds.stages import make_project


@pytest.fixture
def get(sign_in: Callable[..., TestClient], database: Database) -> Callable[..., Any]:
    browser = sign_in("lead")
    with database.transaction() as session:
        project = make_project(session)
        lead = session.query(User).filter_by(name="lead").one()
        accounts.add_member(session, project.id, lead.id, Role.LEAD, actor_id=None)
    slug = project.slug

    def ask(path: str, **params: Any) -> Any:
        return browser.get(path.format(slug=slug), params=params, headers={"accept": "text/html"})

    return ask


def agree(monkeypatch: pytest.MonkeyPatch, value: float, low: float, high: float) -> None:
    def summary(_session: Any, _project_id: int) -> Any:
        decided = Measure(value, Interval(low, high), 300)
        return type("Report", (), {"decided": decided})

    monkeypatch.setattr(agreement, "summary", summary)


def test_the_launch_page_and_the_api_say_the_same(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    page, api = "/p/{slug}/rounds/new", "/api/v1/projects/{slug}/rounds/overlap-advice"
    assert "Not enough judgments to advise" in get(page).text
    agree(monkeypatch, 0.75, 0.70, 0.80)
    advice = get(api, judgments=1200).json()
    assert advice["verdict"] == "more_comparisons"
    assert [each["comparisons"] for each in advice["spendings"]] == [1200, 400, 240]
    assert advice["sentence"] == (
        "More comparisons are worth more than more labelers: 3 judgments of each keep only "
        "56 to 69 % of the information. 1,200 judgments can be 1 on each of 1,200 comparisons "
        "(right 85 % of the time), 3 on each of 400 comparisons (majority right 94 % of the time) "
        "or 5 on each of 240 comparisons (majority right 98 % of the time), as two labelers agree "
        "on 75 % [70, 80] of the pairs."
    )
    one = "1 judgment can be 1 on each of 1 comparison (right 85 % of the time), as"
    assert one in get(api, judgments=1).json()["sentence"]
    assert "More comparisons are worth more" in get(page, asked=1, overlap=1).text
    assert "there are prompts for 1: import prompts" in get(page, asked=1, overlap=2).text
    assert get(api, judgments=0).status_code == 422
    with database.transaction() as session:
        session.query(Project).one().judgment_kind = JudgmentKind.THUMBS
    assert get(api, judgments=9).json() is None
    assert "more labelers" not in get(page).text


def test_a_page_does_not_wait_for_the_agreement_of_a_large_project(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pending(_session: Any, _project_id: int) -> Any:
        raise FigurePending("soon")

    monkeypatch.setattr(agreement, "summary", pending)
    assert "the agreement is being computed" in get("/p/{slug}/rounds/new").text


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((0.55, 0.52, 0.58), "More labelers per comparison cost little: 3 judgments of each keep"),
        ((0.62, 0.55, 0.69), "the interval of the agreement is too wide to tell"),
        ((0.55, 0.45, 0.65), "agree 55 % of the time, and chance may explain it"),
    ],
)
def test_every_verdict_has_its_words(interval: tuple[float, float, float], words: str) -> None:
    value, low, high = interval
    advice = overlap_advice.advise(Measure(value, Interval(low, high), 300), 60, 60)
    assert words in overlap_words.sentence(advice)
