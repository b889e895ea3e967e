"""What a project is for: what its pages lead to and speak of, from the first import to the end."""

import re
from collections import deque
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.goals import Goal
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.models import Comparison, Project, Role, Round, User
from app.services.people import accounts
from app.services.project import projects
from tests.services import sample_votes
from tests.web import visible

SignIn = Callable[..., TestClient]
HTML = {"accept": "text/html"}
OTHERS = (Goal.COLLECT, Goal.COMPARE)
OF_TRAINING = re.compile(
    r"demonstration|\bSFT\b|fine-tun|\bpolic(y|ies)\b|reward model|\brounds?\b|base model|\bKL\b",
    re.IGNORECASE,
)
ANSWERS = b"prompt,response_alpha,response_beta,response_gamma\n" + b"".join(
    b"Question %d?,Yes %d.,No %d.,Maybe %d.\n" % (at, at, at, at) for at in range(12)
)


@pytest.fixture
def admin(sign_in: SignIn) -> TestClient:
    return sign_in("root", is_admin=True)


def html(browser: TestClient, path: str) -> str:
    answer = browser.get(path, headers=HTML, follow_redirects=True)
    assert answer.status_code == 200, (path, answer.text[:500])
    return answer.text


def create(admin: TestClient, goal: Goal | str, **fields: str) -> str:
    form = {"name": "Desk", "overlap": "1", "base_model": "starter", "goal": str(goal)} | fields
    answer = admin.post("/projects/new", data=form, headers=HTML)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def import_answers(admin: TestClient, path: str) -> str:
    answer = admin.post(f"{path}/prompts", files={"file": ("answers.csv", ANSWERS)}, headers=HTML)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def read_all(browser: TestClient, path: str) -> dict[str, list[str]]:
    """Return the texts of the pages of a project that links lead to, by address."""
    pages: dict[str, list[str]] = {}
    ahead = deque([path])
    while ahead:
        address = ahead.popleft()
        if address in pages:
            continue
        answer = browser.get(address, headers=HTML)
        pages[address] = []
        if "text/html" not in answer.headers.get("content-type", ""):
            continue
        pages[address] = visible.texts(answer.text, "for-training", "goals")
        for link in re.findall(r'href="([^"#]+)', answer.text):
            found = urlsplit(urljoin(address, link.replace("&amp;", "&")))
            plain = re.sub(r"/\d+(?=/|$)", "/1", found.path)
            seen = {re.sub(r"/\d+(?=/|$)", "/1", urlsplit(one).path) for one in [*pages, *ahead]}
            if found.path.startswith(path) and plain not in seen:
                ahead.append(found.path)
    return pages


def test_a_goal_is_asked_for_and_can_be_changed_back_and_forth(
    admin: TestClient, database: Database
) -> None:
    form = html(admin, "/projects/new")
    assert form.count('name="goal"') == 3
    assert not re.search(r'name="goal"[^>]*checked', form)
    named = html(admin, "/projects/new?goal=compare")
    assert re.search(r'name="goal" value="compare"[^>]*checked', named)
    path = create(admin, Goal.COLLECT)
    with database.reader() as session:
        project = projects.by_slug(session, "desk")
        assert (project.goal, project.base_model) == (Goal.COLLECT, None)  # not one that was hidden
    settings = html(admin, f"{path}/settings")
    assert re.search(r'name="goal" value="collect"[^>]*checked', settings)
    fields = {"name": "Desk", "k": "2", "overlap": "1", "base_model": "org/model"}
    for goal, title in ((Goal.TRAIN, "Train in rounds"), (Goal.COMPARE, "Compare models")):
        admin.post(f"{path}/settings", data=fields | {"goal": goal}, headers=HTML)
        assert f"The goal is now “{title}”." in html(admin, f"{path}/settings")
    admin.post(f"{path}/settings", data=fields, headers=HTML)  # which says nothing of the goal
    with database.reader() as session:
        project = projects.by_slug(session, "desk")
        assert (project.goal, project.base_model) == (Goal.COMPARE, "org/model")
    for hidden in ("/rounds", "/models", "/evaluations", "/settings/automatic-rounds"):
        assert admin.get(f"{path}{hidden}", headers=HTML).status_code == 200


def test_a_mix_that_the_page_hides_is_kept(admin: TestClient, database: Database) -> None:
    path = create(admin, Goal.COLLECT)
    page = html(admin, f"{path}/settings")
    hidden = re.search(r'type="hidden" name="evaluation_percent" value="([\d.]+)"', page)
    assert hidden
    assert float(hidden[1]) == 30
    assert "Automatic rounds" not in page


@pytest.mark.parametrize("goal", OTHERS)
def test_a_project_without_training_never_speaks_of_it(admin: TestClient, goal: Goal) -> None:
    path = create(admin, goal)
    for state in ("empty", "imported", "asked"):
        if state == "imported":
            import_answers(admin, path)
        if state == "asked":
            admin.post(f"{path}/comparisons", headers=HTML)
        pages = read_all(admin, path)
        assert len(pages) > 10
        said = {
            (address, text)
            for address, texts in pages.items()
            for text in texts
            if OF_TRAINING.search(text) and "name" not in address
        }
        assert not said, "\n".join(f"{state} {address}: {text}" for address, text in sorted(said))


def test_a_project_that_trains_speaks_of_it(admin: TestClient) -> None:
    pages = read_all(admin, create(admin, Goal.TRAIN))
    assert sum(bool(OF_TRAINING.search(text)) for texts in pages.values() for text in texts) > 30


@pytest.mark.parametrize(
    ("goal", "first", "last"),
    [(Goal.COLLECT, "Export", "Leaderboard"), (Goal.COMPARE, "Leaderboard", "Export")],
)
def test_the_next_step_leads_to_the_end(
    admin: TestClient, database: Database, goal: Goal, first: str, last: str
) -> None:
    path = create(admin, goal)
    assert "Import prompts and responses" in html(admin, path)
    import_answers(admin, path)
    assert "12 prompts have responses that labelers have not been asked about" in html(admin, path)
    assert admin.post(f"{path}/comparisons", headers=HTML).status_code == 303
    assert "12 more judgments" in html(admin, path)  # the test split's too: nothing is trained
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        labeler = accounts.create_user(session, email="l@example.org", name="L", password=None)
        accounts.add_member(session, project.id, labeler.id, Role.LABELER, actor_id=None)
        for comparison in session.query(Comparison).filter_by(project_id=project.id):
            sample_votes.vote(session, comparison, labeler, preferred="a")
    page = html(admin, path)
    assert "All 12 judgments have been made." in page
    buttons = re.findall(r'<a class="(btn[^"]*)" href="[^"]*">([^<]+)</a>', page)
    assert [words for look, words in buttons if look == "btn main"] == [first]
    assert (("btn", last)) in buttons


def test_a_round_under_way_is_led_to_whatever_the_goal(
    admin: TestClient, database: Database
) -> None:
    path = create(admin, Goal.TRAIN)
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        session.add(_round(project))
    fields = {"name": "Desk", "k": "2", "overlap": "1", "goal": "collect"}
    admin.post(f"{path}/settings", data=fields, headers=HTML)
    assert "Round 1 continues; the overview leads to it." in html(admin, f"{path}/settings")
    assert "Round 1 has failed" in html(admin, path)


def _round(project: Project) -> Round:
    return Round(
        project_id=project.id,
        number=1,
        state=RoundState.FAILED,
        reason="memory ran out",
        plan=RoundPlan().to_json(),
        created_at=project.created_at,
    )


@pytest.mark.parametrize(
    ("goal", "waits"),
    [(Goal.TRAIN, "Trainings will"), (Goal.COMPARE, "Exports and large imports will")],
)
def test_without_a_worker_the_overview_says_what_does_not_start_and_who_can_help(
    sign_in: SignIn, database: Database, goal: Goal, waits: str
) -> None:
    lead, admin = sign_in("lead"), sign_in("root", is_admin=True)
    with database.transaction() as session:
        user = session.scalars(select(User).order_by(User.id)).all()[0]
        projects.create(session, name="Desk", owner=user, goal=goal)
    said = f"{waits} not start until an administrator starts a worker."
    assert said in re.sub(r"\s+", " ", html(lead, "/p/desk"))
    said = f"{waits} not start until a worker is started."
    assert said in re.sub(r"\s+", " ", html(admin, "/p/desk"))
