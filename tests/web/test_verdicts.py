"""Verdicts on pages and in the API: one at the top of each page, and the same sentence in both."""

import html
import re
from collections.abc import Callable

from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.states import RoundState
from app.models import Checkpoint, Evaluation, Project, Role, Round, User
from app.services.people import accounts
from app.services.project import projects
from tests.browser import lead_world
from tests.services.sample_votes import make_comparison, vote

SignIn = Callable[..., TestClient]
TONE = re.compile(r'<b class="tone">\s*<svg[^>]*aria-hidden="true">.*?</svg>([^<]+)</b>', re.S)


def _page(lead: TestClient, path: str) -> str:
    answer = lead.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 200, path
    return html.unescape(re.sub(r"\s+", " ", answer.text)).replace("\N{WORD JOINER}", "")


def test_each_page_opens_with_the_verdict_that_the_api_gives(
    sign_in: SignIn, database: Database
) -> None:
    lead = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        ids = lead_world.furnish(session, "desk", user.id)
        reward = session.get_one(Checkpoint, ids["reward"])
        votes = {"value": 0.52, "low": 0.46, "high": 0.58}
        reward.metrics = {"people": {"accuracy_on_votes": votes}}
    pages = {
        "": "",
        "/agreement": "/agreement",
        "/labelers": "/labelers",
        "/rounds/1": "/rounds/1",
        f"/evaluations/{ids['evaluation']}": f"/evaluations/{ids['evaluation']}",
        f"/models/{ids['reward']}": f"/checkpoints/{ids['reward']}",
        f"/models/{ids['policy']}": f"/checkpoints/{ids['policy']}",
    }
    tones = {}
    for page, resource in pages.items():
        said = lead.get(f"/api/v1/projects/desk{resource}/verdict").json()
        text = _page(lead, f"/p/desk{page}")
        assert said["sentence"].removesuffix(".") in text, page
        assert said["advice"] in text, page
        assert len(TONE.findall(text)) == 1, page  # one opinion, in a word beside the color
        tones[page] = said["tone"]
        if said["finding"] != "step":
            assert text.index('class="verdict') < text.index("<h2")
    assert tones[f"/models/{ids['reward']}"] == "bad"
    for path in ("evaluations/99/verdict", "rounds/9/verdict", "checkpoints/99/verdict"):
        assert lead.get(f"/api/v1/projects/desk/{path}").status_code == 404
    labeler = sign_in("labeler")
    assert labeler.get("/api/v1/projects/desk/verdict").status_code in (403, 404)


def test_a_hurried_labeler_who_answers_at_random_is_named_with_the_agreement_they_cost(
    sign_in: SignIn, database: Database
) -> None:
    lead = sign_in("lead")
    for name in ("careful", "hasty"):
        sign_in(name)
    with database.transaction() as session:
        first, careful, hasty = session.scalars(select(User).order_by(User.id)).all()
        project = projects.create(session, name="Desk", owner=first)
        for user in (careful, hasty):
            accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
        for at in range(60):
            comparison = make_comparison(session, project)
            right, wrong = ("a", "b") if at % 4 < 2 else ("b", "a")
            vote(session, comparison, first, preferred=right, active_ms=24_000)
            said = right if at % 3 else wrong
            vote(session, comparison, careful, preferred=said, active_ms=24_000)
            vote(session, comparison, hasty, preferred="ab"[at % 2], active_ms=1_000)
    said = lead.get("/api/v1/projects/desk/agreement/verdict").json()
    assert (said["finding"], said["tone"]) == ("agreement_chance", "bad")
    assert "takes 1 s for a judgment where others take 24 s" in said["sentence"]
    assert said["advice"] == "Talk to L3, or add gold comparisons"
    page = _page(lead, "/p/desk/agreement")
    assert said["sentence"] in page
    assert f"{100 * said['figures']['agreement']['value']:.1f} %" in page  # the page's own figure
    labelers = lead.get("/api/v1/projects/desk/labelers/verdict").json()
    assert labelers["finding"] == "labelers_unusual"
    assert labelers["sentence"] in _page(lead, "/p/desk/labelers")
    texts = {place: lead.get(f"/p/desk{place}").text for place in ("", "/agreement", "/labelers")}
    for text in texts.values():
        assert '<a href="/p/desk/labelers#labeler-L3">See L3’s figures</a>' in text
    assert '<tr id="labeler-L3">' in texts["/labelers"]
    menus = re.findall(r'popovertarget="([\w-]+)"', texts["/labelers"])
    assert len([name for name in menus if name != "places"]) == 3, "the actions of each member"
    assert all(f'id="{name}"' in texts["/labelers"] for name in menus)
    assert 'href="/p/desk/agreement#remarks-L3"' in texts["/labelers"]
    assert 'href="/p/desk/agreement#remarks-L3"' in texts[""]
    assert 'id="remarks-L3"' in texts["/agreement"]


def test_a_round_to_be_decided_is_never_given_two_opinions(
    sign_in: SignIn, database: Database
) -> None:
    lead = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        ids = lead_world.furnish(session, "desk", user.id)
        round_ = session.scalars(select(Round)).one()
        round_.state, round_.ended_at = RoundState.DECIDING, None
        session.scalars(select(Project)).one().policy_checkpoint_id = None
        assert session.get_one(Evaluation, ids["evaluation"]).round_id == round_.id
    api = "/api/v1/projects/desk"
    verdicts = [
        lead.get(f"{api}{path}/verdict").json()
        for path in ("", "/rounds/1", f"/evaluations/{ids['evaluation']}")
    ]
    assert len({one["sentence"] for one in verdicts}) == 1
    assert len({one["tone"] for one in verdicts}) == 1
    assert verdicts[0]["sentence"].endswith((": hold.", ": promote."))
    page = _page(lead, "/p/desk/rounds/1")
    main = "Promote" if verdicts[0]["sentence"].endswith(": promote.") else "Hold"
    assert re.search(rf'<button class="btn main" name="promote"[^>]*>{main}', page)
