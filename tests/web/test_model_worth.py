"""What a model's page says of the data it left out, and of what more judgments would bring."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import Database
from app.domain.plan import RoundPlan
from app.models import CheckpointKind, Role, User
from app.services.checkpoints import checkpoints
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.services.people import accounts
from app.web.launch_form import LaunchForm
from tests.services.rounds.stages import make_project
from tests.web import charted


def point(comparisons: int, accuracy: float) -> dict[str, Any]:
    bounds = {"low": accuracy - 0.08, "high": accuracy + 0.07}
    return {"comparisons": comparisons, "accuracy": accuracy, **bounds}


WORTH = {
    "measured": [point(50, 0.61), point(100, 0.64), point(200, 0.68), point(400, 0.7)],
    "doubled": point(800, 0.72),
    "more": point(900, 0.725),
}
METRICS = {"comparisons": 31, "too_long": ["comparison-1"] * 30, "refused": 1}


def _read(page: str) -> str:
    """Return a page as it is read: without tags, and with plain spaces."""
    return " ".join(re.sub(r"<[^>]+>", "", page).split())


@pytest.fixture
def lead(sign_in: Callable[..., TestClient]) -> TestClient:
    return sign_in("lead")


@pytest.fixture
def page(lead: TestClient, database: Database) -> Callable[..., str]:
    """Give a function that returns the page of a reward model with some metrics."""

    def of(path: str = "", **metrics: Any) -> str:
        with database.transaction() as session:
            project = make_project(session)
            user = session.query(User).filter_by(name="lead").one()
            accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=user.id)
            made = checkpoints.create(
                session,
                project_id=project.id,
                kind=CheckpointKind.REWARD,
                written=CheckpointFiles("reward/1", "0" * 64, {}, metrics),
            )
            url = f"/p/{project.slug}/{path or f'models/{made.id}'}"
        response = lead.get(url, headers={"accept": "text/html"})
        assert response.status_code == 200
        return " ".join(response.text.split())

    return of


def test_a_forecast_is_shown_with_its_interval_beside_what_was_measured(
    page: Callable[..., str],
) -> None:
    html = page(label_value=WORTH)
    assert "are expected to change the accuracy by +2.5 points, to 72.5 % [64.5, 79.5]" in _read(
        html
    )
    assert html.count("<small>forecast</small>") == 2
    assert html.index("Accuracy with 900 comparisons") > html.index("Accuracy with 800 comparisons")


def test_a_forecast_is_a_chart_with_a_file(page: Callable[..., str], lead: TestClient) -> None:
    html = page(label_value=WORTH)
    drawing = charted.of_page(html)["Accuracy by comparisons"]
    measured, forecast = drawing["lines"]
    assert (measured["x"], measured["y"]) == ([50, 100, 200, 400], [61, 64, 68, 70])
    assert (forecast["x"], forecast["dashed"]) == ([800, 900], True)
    (address,) = re.findall(r'href="([^"]*label-value.csv)"', html)
    charted.assert_same(drawing, lead.get(address).text)
    other = re.sub(r"\d+(?=/label)", "999999", address)
    assert lead.get(other, headers={"accept": "text/html"}).status_code == 404


def test_the_launch_page_says_what_more_comparisons_would_bring(page: Callable[..., str]) -> None:
    html = page("rounds/new", label_value=WORTH)
    assert "is expected to reach 72 % [64, 80] of held-out votes, +2.5 points." in _read(html)
    assert "of held-out votes" not in page("rounds/new", label_value_reason="there were too few")


def test_why_there_is_no_forecast_is_said(page: Callable[..., str]) -> None:
    html = page(label_value_reason="there were too few")
    assert "What more judgments would bring is not known: there were too few." in html
    plain = page()
    assert "What more judgments" not in plain
    assert "data-chart" not in plain


def test_what_was_left_out_is_counted_with_its_reason(page: Callable[..., str]) -> None:
    html = page(**METRICS)
    assert "<li>30 too long</li>" in html
    assert "<li>1 refused by the chat template</li>" in html
    assert "Of 31 comparisons to train on" in html
    assert "Left out" not in page(comparisons=31, too_long=[])


def test_the_form_asks_for_it() -> None:
    plan = RoundPlan()
    asked = replace(plan, reward=replace(plan.reward, label_value=True))
    assert LaunchForm.of(asked).label_value
    assert LaunchForm(label_value=True).plan(plan).reward.label_value
    assert not LaunchForm().plan(asked).reward.label_value
