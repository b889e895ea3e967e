"""The climb as lead pages and the API show it: picture, table, files, and nothing drawn as zero."""

import csv
import html
import io
import json
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import Checkpoint, Role, Round, User
from app.services.people import accounts
from tests.services import sample
from tests.services.rounds import climbed

HTML = {"accept": "text/html"}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def lead(sign_in: Callable[..., TestClient], database: Database) -> TestClient:
    """Give the lead of a project with three rounds, and of one without any."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        for slug in ("desk", "empty"):
            project = sample.make_project(session, slug=slug, name="=Desk & sons", overlap=1)
            accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=None)
            if slug == "desk":
                climbed.three_rounds(session, project)
    return browser


def test_the_climb_is_shown_and_downloaded(lead: TestClient) -> None:
    for path in ("/p/desk", "/p/desk/climb"):
        page = lead.get(path, headers=HTML).text
        assert page.count('<article class="chart"') == page.count("data-chart=") == 5
        assert "Not measured yet: agreement of the round’s judgments." in page
        drawn = [json.loads(html.unescape(one)) for one in re.findall('data-chart="([^"]+)"', page)]
        fixed = [one["title"] for one in drawn if (one["low"], one["high"]) == (0, 100)]
        assert fixed == ["Win rate over SFT 1", "Win rate over the previous policy"]
        assert "Not measured: people in rounds 2, 4" in page
        assert "Not enough: people in round 2; reward model in round 2" in page
        assert "rounds 2, 4: blind votes compare the policy with Policy 1, not with SFT 1." in page
        assert "because it was cancelled" in page
    svg = lead.get("/p/desk/climb/picture.svg")
    assert "desk-climb.svg" in svg.headers["content-disposition"]
    picture = ElementTree.fromstring(svg.text)
    assert picture.findtext(f"{SVG}title") == "=Desk & sons: the climb over 3 rounds"
    assert len(picture.findall(f"{SVG}svg")) == 6
    circles = [len(panel.findall(f"{SVG}circle")) for panel in picture.findall(f"{SVG}svg")]
    assert circles == [2, 4, 0, 3, 4, 4], "points of the first line, and one in each legend"
    assert "style" not in svg.text, "a content security policy would ignore it"


def test_figures_agree_in_csv_and_api(lead: TestClient) -> None:
    found = lead.get("/api/v1/projects/desk/climb").json()
    assert found["left_out"] == [{"round": 3, "reason": "it was cancelled"}]
    first, second, fourth = found["rounds"]
    assert first["figures"]["votes_sft"]["value"] == 14 / 16
    assert fourth["figures"]["votes_sft"]["value"] is None
    assert fourth["figures"]["votes_sft"]["reason"].startswith("blind votes compare")
    enough = [each["figures"]["votes_last"]["is_enough"] for each in found["rounds"]]
    assert enough == [True, False, True]
    assert second["figures"]["accuracy"]["is_enough"] is None
    rows = list(csv.DictReader(io.StringIO(lead.get("/p/desk/climb/figures.csv").text)))
    for row in rows:
        (round_,) = (each for each in found["rounds"] if str(each["round"]) == row["round"])
        figure = round_["figures"][row["figure"]]
        assert row["value"] == ("" if figure["value"] is None else repr(figure["value"]))
        assert bool(row["reason"]) is (figure["value"] is None)
    assert len(rows) == sum(len(each["figures"]) for each in found["rounds"])


@pytest.mark.parametrize("recorded", ["heldout/kl", "kl/k1", "kl"])
def test_a_policy_has_the_same_kl_wherever_it_is_shown(
    lead: TestClient, database: Database, recorded: str
) -> None:
    with database.transaction() as session:
        row = session.scalars(select(Checkpoint).where(Checkpoint.name == "Policy 1")).one()
        of_round = Round.policy_checkpoint_id == row.id
        row.round_id = session.scalars(select(Round.id).where(of_round)).one()
        row.metrics = {"heldout/reward": 1.294, "heldout/kl": None, recorded: 3.36}
    figures = lead.get("/api/v1/projects/desk/climb").json()["rounds"][0]["figures"]
    assert figures["kl_nats"]["value"] == 3.36
    climb_page, rounds, models = (
        re.sub(r"\s+", " ", lead.get(f"/p/desk/{name}", headers=HTML).text)
        for name in ("climb", "rounds", "models")
    )
    assert "3.4" in climb_page
    assert '<td class="n"> 3.4 </td>' in rounds
    assert "held-out reward 1.29 at 3.4 nats" in models


def test_without_a_finished_round_the_page_leads_on(lead: TestClient) -> None:
    for path in ("/p/empty", "/p/empty/climb"):
        page = lead.get(path, headers=HTML).text
        assert "No finished round yet" in page
        assert 'href="/p/empty/rounds/new"' in page
    refused = lead.get("/p/empty/climb/picture.svg")
    assert refused.status_code == 404
    assert "no round of this project has reached its decision" in refused.text
    assert lead.get("/api/v1/projects/empty/climb").json() == {"rounds": [], "left_out": []}
