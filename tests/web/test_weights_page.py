"""Labeler weights on pages and through the API: proposed, put to use, taken back, in a round."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.labeler_weights import Changes
from app.errors import FigurePending
from app.models import AuditEvent, Job, Project, Prompt, Role, Round, Split, User
from app.services.people import accounts
from app.services.project import projects
from app.services.quality import weight_proposals
from app.web.pages import labeler_weights
from tests.services.sample_votes import make_comparison, make_project, vote

SignIn = Callable[..., TestClient]
PAGE = "/p/{slug}/agreement/weights"
API = "/api/v1/projects/{slug}/agreement/weights"


class Desk:
    """A project with judgments, as its lead sees it."""

    def __init__(self, browser: TestClient, slug: str) -> None:
        self.browser, self.slug = browser, slug

    def page(self, path: str = PAGE) -> str:
        response = self.browser.get(path.format(slug=self.slug), headers={"accept": "text/html"})
        assert response.status_code == 200, response.text[:500]
        return response.text

    def post(self, path: str, data: Mapping[str, Any]) -> Any:
        return self.browser.post((PAGE + path).format(slug=self.slug), data=dict(data))

    def api(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        response = self.browser.request(method, API.format(slug=self.slug) + path, **options)
        assert response.status_code == status, response.text
        return response.json()

    def form(self) -> dict[str, str]:
        """Return what the button of the page sends."""
        (weights,) = re.findall(r'name="weights" value="([^"]+)"', self.page())
        return {"weights": weights}


@pytest.fixture
def desk(sign_in: SignIn, database: Database) -> Desk:
    browser = sign_in("lead")
    with database.transaction() as session:
        project, people = make_project(session)
        for number in range(24):
            comparison = make_comparison(session, project)
            for person in people:
                is_right = person is not people[2] or number % 2 == 0
                vote(session, comparison, person, preferred="a" if is_right else "b")
        _join(session, project)
    return Desk(browser, project.slug)


def _join(session: Any, project: Project) -> None:
    lead = session.scalars(select(User).where(User.name == "lead")).one()
    accounts.add_member(session, project.id, lead.id, Role.LEAD, actor_id=None)


def test_the_proposal_is_put_to_use_with_one_click_and_taken_back(
    desk: Desk, database: Database
) -> None:
    assert "No weights are in use" not in desk.page()
    form = desk.form()
    assert re.fullmatch(r"L2 \d[.\d]*, L3 \d[.\d]*, L4 \d[.\d]*", form["weights"])
    assert desk.post("", form).headers["location"] == PAGE.format(slug=desk.slug)
    page = desk.page()
    assert "In use since" in page
    assert "Put into use by lead" in page
    assert ">in use</span>" in page
    assert "Use in the next round" not in page
    (since,) = re.findall(r'name="since" value="([^"]+)"', page)
    assert desk.post("/take-back", {"since": since}).status_code == 303
    assert "In use since" not in desk.page()
    again = desk.post("/take-back", {"since": since})
    assert again.status_code == 409
    assert "No labeler weights are in use" in again.text
    with database.reader() as session:
        actions = session.scalars(select(AuditEvent.action)).all()
        assert {"labeler_weights.use", "labeler_weights.take_back"} <= set(actions)


def test_previous_weights_are_named_and_restored(desk: Desk) -> None:
    desk.api("PUT", "/in-use", json={"weights": {"L2": 0.25}})
    desk.post("", desk.form())
    page = desk.page()
    assert "Previous weights:" in page
    assert "Restore the previous weights" in page
    desk.post("/take-back", {})
    assert desk.api("GET", "/in-use")["weights"] == {"L2": 0.25}


def test_a_labeler_with_few_judgments_is_said_to_have_too_few(
    desk: Desk, database: Database
) -> None:
    with database.transaction() as session:
        project = projects.by_slug(session, desk.slug)
        lead = session.scalars(select(User).where(User.name == "lead")).one()
        vote(session, make_comparison(session, project), lead, preferred="a")
    assert "Not enough judgments" in desk.page()
    assert "L5" not in desk.form()["weights"]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("L2 1, L2 2", "L2 must have one weight, not 2"),
        ("L9 1", "has no labeler"),
        ("L2 -1", "Weight of labeler L2 must be 0.0 to 100.0"),
        ("L2", "must be a pseudonym and a weight"),
    ],
)
def test_forged_weights_are_refused(desk: Desk, weights: str, words: str) -> None:
    response = desk.post("", {"weights": weights})
    assert response.status_code == 422
    assert words in response.text
    assert desk.api("GET", "/in-use")["weights"] == {}


def test_weights_in_use_are_read_set_and_taken_back_through_the_api(desk: Desk) -> None:
    proposed = desk.api("GET", "")
    assert proposed["weights"].keys() == {"L2", "L3", "L4"}
    assert [(one["shared"], one["gold"]) for one in proposed["labelers"]] == [(24, 0)] * 3
    first = desk.api("PUT", "/in-use", json={"weights": proposed["weights"]})
    assert (first["weights"], first["by"], first["earlier"]) == (proposed["weights"], "lead", None)
    desk.api("DELETE", "/in-use", 409, params={"since": "2001-01-01T00:00:00Z"})
    after = desk.api("DELETE", "/in-use", params={"since": first["since"]})
    assert (after["weights"], after["since"]) == ({}, None)
    refused = desk.api("PUT", "/in-use", 422, json={"weights": {"L9": 1}})
    assert "has no labeler" in refused["detail"]


def test_ratings_cannot_be_weighted_and_the_page_says_why(
    sign_in: SignIn, database: Database
) -> None:
    browser = sign_in("lead")
    with database.transaction() as session:
        project, _ = make_project(session, judgment_kind="rate", k=2)
        _join(session, project)
    desk = Desk(browser, project.slug)
    assert "learns from the mean of all ratings" in desk.page()
    assert "mean of all ratings" in desk.api("GET", "/in-use")["why_not"]
    desk.api("PUT", "/in-use", 422, json={"weights": {"L2": 1}})


def test_while_weights_are_computed_the_page_shows_the_rest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.api("PUT", "/in-use", json={"weights": {"L2": 0.25}})

    def pending(*_: object) -> None:
        raise FigurePending("later")

    monkeypatch.setattr(weight_proposals, "of_project", pending)
    page = desk.page()
    assert "being computed" in page
    assert "In use since" in page
    response = desk.browser.get(PAGE.format(slug=desk.slug))
    assert int(response.headers["refresh"]) > 0


def test_the_launch_page_offers_the_weights_and_the_round_names_them(
    desk: Desk, database: Database
) -> None:
    desk.api("PUT", "/in-use", json={"weights": {"L2": 0.25, "L3": 2}})
    with database.transaction() as session:
        project = projects.by_slug(session, desk.slug)
        project.base_model = "some/base"
        session.scalars(select(Prompt)).first().split = Split.TEST  # type: ignore[union-attr]
    launch = desk.page("/p/{slug}/rounds/new")
    assert 'name="labeler_weights" type="text" value="L2 0.25, L3 2"' in launch
    assert "In use in the project since" in launch
    form = {"asked": "1", "labeler_weights": "L2 0.25, L3 2"}
    url = f"/p/{desk.slug}/rounds/new"
    refused = desk.browser.post(url, data=form | {"labeler_weights": "L2"})
    assert "Labeler weights: &#39;L2&#39; must be a pseudonym and a weight" in refused.text
    refused = desk.browser.post(url, data=form | {"labeler_weights": "L9 1"})
    assert "has no labeler &#39;L9&#39;" in refused.text
    assert desk.browser.post(url, data=form).status_code == 303
    page = desk.page("/p/{slug}/rounds/1")
    assert "L3 2.00" in page
    assert "in use in the project</a> when the round" in page
    with database.transaction() as session:
        assert session.scalars(select(Round)).one().plan["reward"]["labelers_from"] == "project"
        session.scalars(select(Job)).one().result = {"remarks": ["L9 has no vote"]}
    assert "L9 has no vote." in desk.page("/p/{slug}/rounds/1")


def test_weights_that_are_changed_or_cleared_at_launch_are_the_rounds_own(
    desk: Desk, database: Database
) -> None:
    desk.api("PUT", "/in-use", json={"weights": {"L2": 0.25}})
    with database.transaction() as session:
        projects.by_slug(session, desk.slug).base_model = "some/base"
        session.scalars(select(Prompt)).first().split = Split.TEST  # type: ignore[union-attr]
    desk.browser.post(f"/p/{desk.slug}/rounds/new", data={"asked": "1"})
    with database.reader() as session:
        reward = session.scalars(select(Round)).one().plan["reward"]
    assert (reward["labelers"], reward["labelers_from"]) == ([], "plan")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            Changes(7, 0, 0, 0),
            "no majority would change among the 7 pairs of responses that were judged.",
        ),
        (
            Changes(1, 1, 0, 0),
            "1 pair of responses that was judged, 1 majority would flip.",
        ),
        (
            Changes(1200, 2, 1, 3),
            "2 majorities would flip, 1 tie would be decided and 3 majorities would become ties.",
        ),
    ],
)
def test_the_effect_is_told_in_a_sentence(changes: Changes, words: str) -> None:
    assert labeler_weights.effect(changes).endswith(words)
