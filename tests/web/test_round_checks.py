"""Rounds that wait at a check, in pages and through the API."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from app.db import Database
from app.domain.gate_policies import Gate, GatePolicies, GatePolicy
from app.domain.gates import table
from app.domain.gates.candidates import PreflightFigures
from app.domain.gates.learning import RewardFigures
from app.domain.plan import RoundPlan, Start
from app.domain.states import RoundState
from app.models import AuditEvent, Project, Role, User
from app.services.people import accounts
from app.services.rounds import round_progress, rounds
from app.web import start_words
from app.web.launch_form import LaunchForm
from tests.services.rounds.stages import PLAN, end_job, judge, make_project

WASTE = PreflightFigures(330, 63, 70, 290, 0, 1320, 900, 20, 0.62, has_spares=False)
CHANCE = RewardFigures(60, 0.54, 0.37, 0.72, "longer", 0.5, -0.1, 50, 63)
HELD_BACK = {"gates": {"preflight": table.to_json(WASTE)}, "held_back": True}


@pytest.fixture
def lead(sign_in: Callable[..., TestClient]) -> TestClient:
    browser = sign_in("lead")
    browser.headers["accept"] = "text/html"
    return browser


@pytest.fixture
def project(database: Database, lead: TestClient) -> Project:
    with database.transaction() as session:
        project = make_project(session)
        user = session.query(User).filter_by(name="lead").one()
        accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=user.id)
        round_ = rounds.launch(session, project, PLAN, user.id)
        end_job(session, round_, result=HELD_BACK)
    return project


def page(lead: TestClient, project: Project, path: str = "/rounds/1") -> str:
    response = lead.get(f"/p/{project.slug}{path}")
    assert response.status_code == 200, response.text
    return response.text


def api(project: Project, rest: str) -> str:
    return f"/api/v1/projects/{project.slug}{rest}"


def test_a_waiting_round_says_why_and_offers_a_click(lead: TestClient, project: Project) -> None:
    html = page(lead, project)
    assert "Pre-flight left 63 of 330 prompts" in html
    assert "at least 70\N{NO-BREAK SPACE}%" in html
    assert "Keeps 290 of 330 prompts." in html
    assert "data-done" in html, "a note that is being typed is not refreshed away"
    overview = page(lead, project, "")
    assert "Round 1 waits at a check: usable candidates" in overview
    assert "/rounds/1/checks/preflight/remedies/keep_cut_off" in overview
    assert "waiting" in page(lead, project, "/rounds")
    url = f"/p/{project.slug}/rounds/1/checks/preflight/remedies/keep_cut_off"
    answer = lead.post(url)
    assert answer.status_code == 303
    html = page(lead, project)
    assert "plan changed" in html
    assert "Keep cut-off responses" in html
    assert lead.post(url).status_code == 409, "it no longer waits"


def test_an_override_is_shown_with_its_note_on_the_models(
    lead: TestClient, project: Project, database: Database
) -> None:
    url = f"/p/{project.slug}/rounds/1/checks/preflight/override"
    assert lead.post(url, data={"note": "a <b>trial</b>"}).status_code == 303
    with database.transaction() as session:
        round_ = round_progress.get(session, project.id, 1)
        end_job(session, round_, result={"gates": HELD_BACK["gates"]})
        judge(session, round_)
        end_job(session, round_, result={"gates": {"reward": table.to_json(CHANCE)}})
        assert round_.state == RoundState.GATED
        reward_id = round_.reward_checkpoint_id
        (event,) = session.query(AuditEvent).filter_by(action="round.gate_override")
        assert event.details["note"] == "a <b>trial</b>"
    html = page(lead, project, f"/models/{reward_id}")
    assert "Checks that failed in its round" in html
    assert "a &lt;b&gt;trial&lt;/b&gt;" in html
    assert html.count("learn noise") == 1, "the other one still waits, which is the verdict"
    assert "Round 1 waits at a check: " in html


def test_a_failed_round_offers_a_changed_plan(
    lead: TestClient, project: Project, database: Database
) -> None:
    with database.transaction() as session:
        round_ = round_progress.get(session, project.id, 1)
        rounds.cancel(session, round_, reason="", actor_id=None)
        row = session.get_one(Project, project.id)
        failed = rounds.launch(session, row, PLAN, None)
        end_job(session, failed, fails=True, error="RuntimeError: CUDA out of memory")
    html = page(lead, project, "/rounds/2")
    assert "Halve the batch size to 16" in html
    assert "Retry unchanged" in html
    url = f"/p/{project.slug}/rounds/2/retry?remedy=smaller_batch"
    assert lead.post(url).status_code == 303
    with database.reader() as session:
        plan = RoundPlan.from_json(round_progress.get(session, project.id, 2).plan)
    assert plan.sampling.batch_size == 16


def test_the_api_shows_verdicts_and_takes_decisions(lead: TestClient, project: Project) -> None:
    lead.headers["accept"] = "application/json"
    shown = lead.get(api(project, "/rounds/1")).json()
    assert shown["state"] == "gated"
    (gate,) = shown["gates"]
    assert (gate["gate"], gate["outcome"], gate["stage"]) == ("preflight", "waiting", "generating")
    assert gate["figures"]["kept"] == 63
    assert [remedy["key"] for remedy in gate["remedies"]] == ["keep_cut_off", "longer"]
    url = api(project, "/rounds/1/gates/preflight")
    wrong = lead.post(f"{url}/remedy", json={"remedy": "luck"})
    assert wrong.status_code == 404
    assert "its remedies are: keep_cut_off, longer" in wrong.text
    assert lead.post(api(project, "/rounds/1/gates/reward/override")).status_code == 409
    assert lead.post(api(project, "/rounds/1/gates/luck/override")).status_code == 422
    taken = lead.post(f"{url}/remedy", json={"remedy": "longer", "note": "worth it"}).json()
    assert taken["state"] == "generating"
    assert taken["plan"]["sampling"]["max_new_tokens"] == 2 * PLAN.sampling.max_new_tokens
    assert taken["gates"][0]["note"] == "worth it"
    assert taken["gates"][0]["remedies"] == []
    refused = lead.post(api(project, "/rounds"), json={"gates": {"preflight": "never"}})
    assert refused.status_code == 422
    assert "must be one of wait, warn, ignore" in refused.text


def test_labelers_decide_nothing(
    project: Project, sign_in: Callable[..., TestClient], database: Database
) -> None:
    labeler = sign_in("labeler")
    with database.transaction() as session:
        user = session.query(User).filter_by(name="labeler").one()
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=user.id)
    url = api(project, "/rounds/1/gates/preflight/override")
    assert labeler.post(url).status_code in (403, 404)


def test_the_form_keeps_a_policy_for_each_check() -> None:
    warned = replace(PLAN, gates=GatePolicies(preflight=GatePolicy.WARN))
    form = LaunchForm.of(warned)
    assert form.has_other_gates
    assert form.plan(RoundPlan()).gates == warned.gates
    typed = LaunchForm(gate_reward=GatePolicy.IGNORE)
    assert typed.plan(warned).gates == GatePolicies(reward=GatePolicy.IGNORE)
    assert not LaunchForm().has_other_gates
    assert {field for field in LaunchForm.model_fields if field.startswith("gate_")} == {
        f"gate_{gate}" for gate in Gate if gate is not Gate.FAILURE
    }


def test_the_launch_page_foresees_a_check(lead: TestClient, project: Project) -> None:
    html = page(lead, project, "/rounds/new?asked=1&overlap=9")
    assert "needs 9 judgments by different people" in html
    assert "An evaluation on 1 prompt cannot tell any win rate from 50 %" in html
    assert "Checks between stages" in html


@pytest.mark.parametrize("start", list(Start))
@pytest.mark.parametrize("has_sft", [True, False])
def test_where_a_round_starts_is_said_the_same_everywhere(start: Start, has_sft: bool) -> None:
    name = dict(start_words.choices(has_sft=has_sft))[str(start)]
    initial = start_words.name(Start.SFT, has_sft=has_sft)
    for share, writers in (
        (0.0, f"candidates come from {initial}"),
        (
            0.25,
            f"25 % of the candidates come from the current policy and the others from {initial}",
        ),
        (1.0, "candidates come from the current policy"),
    ):
        sentence = start_words.sentence(start, share, has_sft=has_sft)
        assert sentence.startswith(f"In the next round, {writers}. ")
        assert sentence.endswith(f"is initialized from {name}.")
