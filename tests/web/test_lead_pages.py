"""The lead's pages: who may see them, what they say when there is nothing, what their forms do."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db import Database
from app.errors import FigurePending
from app.models import (
    Adjudication,
    Comparison,
    Guidelines,
    Membership,
    Project,
    Prompt,
    Role,
    Round,
    User,
)
from app.services.people import accounts
from app.services.project import criteria, projects, prompt_search, prompts
from app.services.project.prompts import NewPrompt
from app.services.quality import agreement
from app.services.queue import comparisons
from tests.services.sample_votes import make_comparison, vote

SignIn = Callable[..., TestClient]

PAGES = (
    "",
    "/overview/live",
    "/prompts",
    "/comparisons",
    "/comparisons?state=low",
    "/comparisons?state=flagged&q=desk&purpose=train&round=1",
    "/agreement",
    "/agreement?round=&version=&source=",
    "/agreement/weights",
    "/agreement?round=&version=&source=&category=&tag=",
    "/agreement?category=(none)&tag=none",
    "/prompts?category=(none)&tag=none&before=",
    "/labelers",
    "/guidelines",
    "/guidelines/edit",
    "/guidelines/diff?old=1&new=1",
    "/rounds",
    "/rounds/new",
    "/climb",
    "/climb/figures.csv",
    "/leaderboard",
    "/leaderboard?by=both&category=&tag=&reference=&length=1&chosen=1",
    "/leaderboard/figures.csv",
    "/rounds/new/steps?asked=1&policy_batch_size=64",
    "/models",
    "/evaluations",
    "/exports",
    "/exports/live",
    "/settings",
    "/settings/instruction",
)
FOR_LABELERS = ("/guidelines", "/guidelines/diff?old=1&new=1")  # but not how they agreed
PROMPTS = b'{"prompt": "Is it open?"}\n{"prompt": "May I renew?"}\nnot a row\n'


def html(browser: TestClient, path: str) -> str:
    answer = browser.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 200, (path, answer.text[:500])
    return answer.text


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a browser signed in as the lead of the project desk."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        projects.create(session, name="Desk", owner=user)
    return browser


def of_project(session: Session) -> Project:
    return projects.by_slug(session, "desk")


def test_every_page_of_an_empty_project_says_what_is_so(lead: TestClient) -> None:
    for page in PAGES:
        text = html(lead, f"/p/desk{page}")
        assert not re.findall(r">\s*(None|nan|NaN)\s*<", text), page
        for target in re.findall(r'<li><a href="#([\w-]+)">', text):
            assert f'id="{target}"' in text, (page, target)


def test_a_long_list_is_sorted_by_links_through_all_its_pages(
    lead: TestClient, database: Database
) -> None:
    sources = [f"file {n % 7}" for n in range(prompt_search.PAGE + 2)]
    with database.transaction() as session:
        rows = [
            NewPrompt((("user", f"{n}?"),), source=name, meta={"category": "fees"})
            for n, name in enumerate(sources)
        ]
        prompts.add(session, of_project(session), rows)
    address = "/p/desk/prompts"
    text = html(lead, f"{address}?source=&q=")
    link = unescape(re.search(r'href="([^"]+)">Source</a>', text)[1])  # type: ignore[index]
    shown: list[str] = []
    while link:
        text = html(lead, address + link)
        assert re.findall(r'aria-sort="(\w+)">\s*<a[^>]*>(\w+)', text) == [("ascending", "Source")]
        assert "data-part" in text
        shown += re.findall(r'class="hide-small quiet">(file \d)<', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        link = unescape(following[1]) if following else ""
    assert shown == sorted(sources)
    assert "First page" in text
    assert "data-part" not in html(lead, f"{address}?sort=number&order=asc&source=file+1")
    refused = lead.get(f"{address}?sort=text", headers={"accept": "text/html"})
    assert (refused.status_code, "cannot be sorted by" in refused.text) == (422, True)
    for query in ("sort=kind", f"before={2**63}"):
        assert lead.get(f"/p/desk/comparisons?{query}").status_code == 422


def test_labelers_and_strangers_see_none_of_it(
    lead: TestClient, sign_in: SignIn, database: Database
) -> None:
    stranger, labeler = sign_in("stranger"), sign_in("labeler")
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == "labeler")).one()
        project = of_project(session)
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
    for page in PAGES:
        assert stranger.get(f"/p/desk{page}").status_code == 404, page
        expected = 200 if page in FOR_LABELERS else 303 if not page else 403  # on to the queue
        assert labeler.get(f"/p/desk{page}").status_code == expected, page
    assert "Raw agreement" not in labeler.get("/p/desk/guidelines").text


def test_only_administrators_make_projects(sign_in: SignIn) -> None:
    form = {"name": "New desk", "k": "2", "overlap": "3", "rules": "Help first.", "allow_tie": "1"}
    assert sign_in("ada").post("/projects/new", data=form).status_code == 403
    admin = sign_in("root", is_admin=True)
    answer = admin.post("/projects/new", data=form)
    assert answer.headers["location"] == "/p/new-desk"
    assert "Help first." in html(admin, "/p/new-desk/guidelines")


def test_a_refused_form_keeps_what_was_typed(sign_in: SignIn, database: Database) -> None:
    admin = sign_in("root", is_admin=True)
    form = {"name": "Desk of many", "k": "2", "overlap": "100"}
    answer = admin.post("/projects/new", data=form, headers={"accept": "text/html"})
    assert answer.status_code == 422
    assert "must be 1 to 99 judgments per comparison" in answer.text
    assert "Desk of many" in answer.text
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Project)) == 0


def test_a_file_is_taken_in_and_bad_lines_are_shown(lead: TestClient) -> None:
    answer = lead.post("/p/desk/prompts", files={"file": ("q.jsonl", PROMPTS)})
    report = html(lead, answer.headers["location"])
    assert "not JSON" in report
    rejects = lead.get(answer.headers["location"] + "/rejects.jsonl")
    assert '"line": 3' in rejects.text
    listed = html(lead, "/p/desk/prompts?split=&q=renew&source=")
    assert "May I renew?" in listed
    assert "Is it open?" not in listed


def test_a_file_of_no_known_format_is_refused_with_its_fields(lead: TestClient) -> None:
    answer = lead.post("/p/desk/prompts", files={"file": ("q.jsonl", b'{"colour": "blue"}')})
    assert answer.status_code == 422
    assert "colour" in answer.text


def test_text_from_outside_never_becomes_markup(lead: TestClient, database: Database) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    with database.transaction() as session:
        project = of_project(session)
        project.name = evil
        comparison = make_comparison(session, project, (evil, "fine"))
        user = session.scalars(select(User)).one()
        vote(session, comparison, user, preferred="a", comment=evil)
        prompt = session.scalars(select(Prompt)).one()
        prompt.source = evil
    for path in ("", "/prompts", f"/prompts/{prompt.id}", f"/comparisons/{comparison.id}"):
        page = html(lead, f"/p/desk{path}")
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_a_comparison_shows_its_votes_and_can_be_settled(
    lead: TestClient, database: Database
) -> None:
    with database.transaction() as session:
        comparison = make_comparison(session, of_project(session))
        user = session.scalars(select(User)).one()
        vote(session, comparison, user, preferred="b", comment="the other is rude")
    url = f"/p/desk/comparisons/{comparison.id}"
    page = html(lead, url)
    assert "B &gt; A" in page
    assert "the other is rude" in page
    refused = lead.post(f"{url}/settle", data={"preferred": "a", "reason": "whim"})
    assert refused.status_code == 422
    form = {"preferred": "a", "reason": "gap", "edge_case": "Rude but right beats polite."}
    assert lead.post(f"{url}/settle", data=form).status_code == 303
    assert lead.post(f"{url}/settle", data=form | {"preferred": "tie"}).status_code == 303
    with database.reader() as session:
        rows = session.scalars(select(Adjudication).order_by(Adjudication.id)).all()
        assert [(row.preferred, row.is_current) for row in rows] == [("a", False), ("tie", True)]
        assert session.scalar(select(func.max(Guidelines.version))) == 3


def test_a_settled_comparison_becomes_gold_with_its_answer(
    lead: TestClient, database: Database
) -> None:
    with database.transaction() as session:
        comparison = make_comparison(session, of_project(session))
        first = comparisons.completions_of(session, comparison.id)
    url = f"/p/desk/comparisons/{comparison.id}"
    assert lead.post(f"{url}/use", data={"purpose": "gold"}).status_code == 404
    lead.post(f"{url}/settle", data={"preferred": "b", "reason": "mistake"})
    assert lead.post(f"{url}/use", data={"purpose": "train"}).status_code == 422
    answer = lead.post(f"{url}/use", data={"purpose": "gold"})
    gold_id = int(answer.headers["location"].rsplit("/", 1)[1])
    with database.reader() as session:
        gold = session.get_one(Comparison, gold_id)
        assert gold.gold_answer is not None
        right = comparisons.completions_of(session, gold_id)[
            "ab".index(gold.gold_answer["preferred"])
        ]
        assert right.id == first[1].id
    assert "Known answer" in html(lead, answer.headers["location"])


def test_asking_again_withdraws_the_first_and_asks_the_same(
    lead: TestClient, database: Database
) -> None:
    with database.transaction() as session:
        first = make_comparison(session, of_project(session), overlap=2)
    answer = lead.post(f"/p/desk/comparisons/{first.id}/again")
    again = int(answer.headers["location"].rsplit("/", 1)[1])
    with database.reader() as session:
        before, after = session.get_one(Comparison, first.id), session.get_one(Comparison, again)
        assert (before.is_withdrawn, before.open_slots) == (True, 0)
        assert (after.open_slots, after.prompt_id) == (2, before.prompt_id)


def test_guidelines_are_previewed_then_published_then_compared(lead: TestClient) -> None:
    form = {"rules": "Short beats **long**.", "summary": "Length"}
    preview = lead.post("/p/desk/guidelines/edit", data=form | {"preview": "1"})
    assert "<strong>long</strong>" in preview.text
    assert "version 2" not in html(lead, "/p/desk/guidelines")
    assert lead.post("/p/desk/guidelines/edit", data=form).status_code == 303
    assert lead.post("/p/desk/guidelines/edit", data=form).status_code == 422
    assert "<ins>" in html(lead, "/p/desk/guidelines/diff?old=1&new=2")


def test_guidelines_can_be_read_while_agreement_is_being_computed(
    lead: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pending(*_: object) -> None:
        raise FigurePending("later")

    monkeypatch.setattr(agreement, "by_version", pending)
    assert "being computed" in html(lead, "/p/desk/guidelines")


def test_a_search_names_its_rules_and_refuses_too_long_a_one(lead: TestClient) -> None:
    for page in ("prompts", "comparisons"):
        answer = lead.get(
            f"/p/desk/{page}", params={"q": "x" * 10_000}, headers={"accept": "text/html"}
        )
        assert answer.status_code == 422
        assert "at most 500 characters, not 10,000" in answer.text
    answer = lead.get(
        "/p/desk/comparisons", params={"q": '"*:&|!'}, headers={"accept": "text/html"}
    )
    assert "Finds texts with all of the words" in answer.text


def test_members_are_invited_paused_and_made_leads(
    lead: TestClient, sign_in: SignIn, database: Database
) -> None:
    sign_in("ann")
    assert "/invitation/" in lead.post("/p/desk/labelers/invite", data={"role": "labeler"}).text
    unknown = lead.post("/p/desk/labelers", data={"email": "nobody@example.org"})
    assert unknown.status_code == 422
    assert lead.post("/p/desk/labelers", data={"email": "ann@example.org"}).status_code == 303
    with database.reader() as session:
        user = session.scalars(select(User).where(User.name == "ann")).one()
    url = f"/p/desk/labelers/{user.id}"
    lead.post(url, data={"paused": "true"})
    lead.post(url, data={"role": "lead"})
    with database.reader() as session:
        member = session.scalars(select(Membership).where(Membership.user_id == user.id)).one()
        assert (member.is_paused, member.role) == (True, "lead")


@pytest.mark.parametrize(
    ("kind", "k"), [("pick", 2), ("rank", 4), ("rate", 4), ("thumbs", 1), ("write", 0), ("edit", 1)]
)
def test_a_project_of_each_kind_is_made_with_a_form(
    sign_in: SignIn, database: Database, kind: str, k: int
) -> None:
    browser = sign_in("root", is_admin=True)
    form = {"name": "Essays", "judgment_kind": kind, "k": "4"}
    form |= {"criteria_lines": "true: Is it?\nkind\n"}
    assert browser.post("/projects/new", data=form).headers["location"].startswith("/p/essays")
    shown = html(browser, "/p/essays/settings")
    assert ('value="Is it?"' in shown) == (kind == "rate")
    with database.reader() as session:
        project = projects.by_slug(session, "essays")
        assert (project.judgment_kind, project.k) == (kind, k)
        named = [one.name for one in criteria.active(session, project.id)]
        assert named == (["true", "kind"] if kind == "rate" else [])


def test_criteria_are_ordered_by_their_place_and_a_row_without_a_name_is_none(
    lead: TestClient, database: Database
) -> None:
    rows = {"name": ["a", "b", ""], "help": ["", "B.", ""], "weight": ["1", "2", "1"]}
    rows |= {"place": ["2", "1", "3"], "use": ["1", "0", "1"]}
    assert lead.post("/p/desk/settings/criteria", data=rows).is_redirect
    with database.reader() as session:
        found = criteria.of_project(session, of_project(session).id)
        assert [(one.name, one.weight, one.is_active) for one in found] == [
            ("a", 1.0, True),
            ("b", 2.0, False),
        ]
        assert [one.position for one in found] == [1, 0]
    twice = rows | {"name": ["a", "A", ""]}
    refused = lead.post("/p/desk/settings/criteria", data=twice)
    assert (refused.status_code, "appears twice" in refused.text) == (422, True)


def test_settings_are_saved_and_refused_with_the_rule(lead: TestClient, database: Database) -> None:
    form = {"name": "Desk", "k": "4", "overlap": "2", "judgment_kind": "rank"}
    assert lead.post("/p/desk/settings", data=form).status_code == 303
    refused = lead.post("/p/desk/settings", data=form | {"k": "12"})
    assert refused.status_code == 422
    assert "2 to 9" in refused.text
    mix = {"gold_percent": "5", "repeat_percent": "2", "evaluation_percent": "30"}
    assert lead.post("/p/desk/settings/mix", data=mix | {"practice_pass_percent": ""}).is_redirect
    assert lead.post("/p/desk/settings/pause", data={"paused": "true"}).is_redirect
    assert lead.post(
        "/p/desk/settings/splits", data={"train": "50", "validation": "25", "test": "25"}
    ).is_redirect
    with database.reader() as session:
        project = of_project(session)
        assert (project.k, project.gold_rate, project.is_paused) == (4, 0.05, True)
        assert project.practice_pass_share is None
        assert project.settings["split_shares"] == [50, 25, 25]


def test_the_step_counts_people_expect(lead: TestClient, database: Database) -> None:
    rows = b"".join(b'{"prompt": "Question %d"}\n' % n for n in range(3000))
    lead.post("/p/desk/settings/splits", data={"train": "100", "validation": "0", "test": "0"})
    lead.post("/p/desk/prompts", files={"file": ("q.jsonl", rows)})
    steps = html(
        lead,
        "/p/desk/rounds/new/steps?asked=1&prompts=3000&reward_batch_size=64&reward_epochs=30"
        "&policy_prompts=2000&policy_batch_size=64&policy_epochs=10&overlap=&kl_budget=",
    )
    figures = re.findall(r">([\d,]+)<", steps.replace("<b>", "").replace("</b>", ""))
    assert figures[-4:-2] == ["47", "1,410"]
    assert figures[-2:] == ["32", "320"]
    few = html(lead, "/p/desk/rounds/new/steps?asked=1&policy_prompts=166&policy_epochs=")
    few = " ".join(few.split())
    assert "166 prompts give 3 steps an epoch" in few
    assert "trained for 7 epochs" in few


def test_counting_again_launches_nothing(lead: TestClient, database: Database) -> None:
    form = {"asked": "1", "count": "1", "policy_batch_size": "48", "overlap": ""}
    answer = lead.post("/p/desk/rounds/new", data=form)
    assert answer.status_code == 200
    assert 'value="48"' in answer.text
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Round)) == 0


def test_a_round_that_cannot_start_says_why(lead: TestClient) -> None:
    answer = lead.post("/p/desk/rounds/new", data={"asked": "1", "sft": "1"})
    assert answer.status_code == 422
    assert "choose a base model" in answer.text.lower()


def test_a_wrong_server_is_refused_beside_its_field_and_what_was_typed_stays(
    lead: TestClient, database: Database
) -> None:
    assert '<details class="card stack" >' in html(lead, "/p/desk/rounds/new")  # folded away
    form = {
        "asked": "1",
        "engine": "continuous",
        "processes": "3",
        "four_bit": "1",
        "server_url": "gpu-1:8001",
        "server_model": "some/model",
        "server_candidates": "2",
    }
    answer = lead.post("/p/desk/rounds/new", data=form)
    assert answer.status_code == 422
    said = "Server url must begin with http:// or https://, not &#39;gpu-1:8001&#39;."
    assert f'<p class="problem" id="server_url-problem">{said}</p>' in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    described = 'aria-invalid="true" aria-describedby="server_url-problem server_url-help"'
    assert described in answer.text
    assert '<details class="card stack" open>' in answer.text
    for name, value in {**form, "server_concurrency": "8"}.items():
        if name.startswith("server_") or name == "processes":
            assert re.search(rf'name="{name}"[^>]* value="{value}"', answer.text), name
    assert '<option value="continuous" selected>' in answer.text
    assert re.search(r'name="four_bit" value="1" checked', answer.text)
    assert not re.search(r'name="server_is_chat" value="1" checked', answer.text)
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Round)) == 0


def test_an_export_is_asked_for_with_its_options(lead: TestClient) -> None:
    form = {"format": "trl-explicit", "aggregate": "majority", "purpose": "train", "split": "train"}
    assert lead.post("/p/desk/exports", data=form).status_code == 303
    assert "queued" in html(lead, "/p/desk/exports")
    assert "being written" in html(lead, "/p/desk/exports/1")
    assert lead.get("/p/desk/exports/1/download").status_code == 409
    refused = lead.post("/p/desk/exports", data=form | {"format": "stone tablets"})
    assert refused.status_code == 422


def test_weights_are_proposed_through_the_api(lead: TestClient) -> None:
    proposal = lead.get("/api/v1/projects/desk/agreement/weights").json()
    for labeler in proposal["labelers"]:
        assert labeler["weight"] == 1.0
        assert "20 are needed" in labeler["reason"]
    assert proposal["flipped"] == 0
