"""Leads steer a running queue, on pages and through the API; each act leaves an audit entry."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db import Database, now
from app.domain.states import AssignmentState, RoundState
from app.models import Assignment, AuditEvent, Comparison, Project, Role, Round, User
from app.services.people import accounts, audit
from app.services.queue import slot_leases
from tests.services import sample

API = "/api/v1/projects/desk"


@pytest.fixture
def desk(database: Database) -> tuple[int, list[int], list[int]]:
    """Give the project, its labelers and three comparisons that want two judgments each."""
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk", name="Desk", overlap=2)
        people = sample.make_labelers(session, project, 3)
        made = [sample.make_comparison(session, project).id for _ in range(3)]
        return project.id, people, made


@pytest.fixture
def lead(
    database: Database, desk: tuple[int, list[int], list[int]], sign_in: Callable[..., TestClient]
) -> TestClient:
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == "lead")).one()
        accounts.add_member(session, desk[0], user.id, Role.LEAD, actor_id=None)
    return browser


@pytest.fixture
def work(database: Database, desk: tuple[int, list[int], list[int]]) -> Callable[..., Any]:
    """Give a function that lets a labeler claim, and one's leases be read."""

    def claim(who: int) -> int:
        with database.transaction() as session:
            project = session.get_one(Project, desk[0])
            got = slot_leases.claim(
                session,
                sample.SECRET,
                project,
                desk[1][who],
                draw=sample.never_mix(),
            )
            assert got is not None
            return got.comparison_id

    return claim


def _live(session: Session, labeler_id: int) -> list[int]:
    query = select(Assignment.comparison_id).where(
        Assignment.labeler_id == labeler_id, Assignment.state == AssignmentState.LEASED
    )
    return list(session.scalars(query))


def _events(session: Session) -> Iterator[str]:
    assert audit.broken_at(session) is None
    yield from session.scalars(select(AuditEvent.action).order_by(AuditEvent.id))


def test_released_leases_go_to_others(
    lead: TestClient, database: Database, desk: Any, work: Callable[..., int]
) -> None:
    _, people, _ = desk
    taken = work(0)
    assert "Release 1" in lead.get("/p/desk/labelers").text
    assert lead.post(f"{API}/labelers/{people[0]}/release").json() == {"released": 1}
    with database.reader() as session:
        assert _live(session, people[0]) == []
        assert "member.release" in list(_events(session))
    assert work(1) == taken
    assert lead.post(f"/p/desk/labelers/{people[1]}/release").status_code == 303


def test_a_paused_labeler_gets_nothing_until_resumed(
    lead: TestClient, database: Database, desk: Any, work: Callable[..., int]
) -> None:
    _, people, made = desk
    url = f"{API}/labelers/{people[0]}/pause"
    assert lead.post(url, json={"paused": True}).json() == {"paused": True}
    with pytest.raises(AssertionError):
        work(0)
    assert lead.post(url, json={"paused": False}).status_code == 200
    assert work(0) == made[0]
    with database.reader() as session:
        assert {"member.pause", "member.resume"} <= set(_events(session))


def test_a_judgment_is_handed_over_for_a_day_and_comes_first(
    lead: TestClient, database: Database, desk: Any, work: Callable[..., int]
) -> None:
    _, people, made = desk
    assert work(0) == made[0]
    given = {"to_user_id": people[1], "from_user_id": people[0]}
    assert lead.post(f"{API}/comparisons/{made[0]}/reassign", json=given).status_code == 200
    with database.reader() as session:
        assert _live(session, people[0]) == []
        assert _live(session, people[1]) == [made[0]]
        assert "comparison.reassign" in list(_events(session))
    again = lead.post(f"{API}/comparisons/{made[0]}/reassign", json=given)
    assert again.status_code == 409
    assert "does not hold" in again.json()["detail"]
    assert work(1) == made[0]
    page = lead.post(f"/p/desk/comparisons/{made[2]}/reassign", data={"to": str(people[2])})
    assert page.status_code == 303
    assert work(2) == made[2]


def test_priority_changes_what_comes_first(
    lead: TestClient, desk: Any, work: Callable[..., int]
) -> None:
    _, _, made = desk
    answer = lead.put(f"{API}/comparisons/{made[2]}/priority", json={"priority": 5})
    assert answer.json()["priority"] == 5
    assert work(0) == made[2]
    form = {"priority": "9"}
    assert lead.post(f"/p/desk/comparisons/{made[1]}/priority", data=form).status_code == 303
    assert work(1) == made[1]
    refused = lead.post(f"/p/desk/comparisons/{made[1]}/priority", data={"priority": "5000"})
    assert refused.status_code == 422
    assert "not 5000" in refused.text


@pytest.mark.parametrize(
    ("priority", "has_rounds", "said"),
    [
        (0, True, ""),
        (-1, False, ""),
        (-1, True, "Those of rounds are asked first."),
        (-2, False, "Others are asked first."),
        (3, False, "It is asked before others."),
    ],
)
def test_the_turn_of_a_comparison_is_in_words_and_its_number_folded_away(
    lead: TestClient, database: Database, desk: Any, priority: int, has_rounds: bool, said: str
) -> None:
    project_id, _, made = desk
    with database.transaction() as session:
        session.get_one(Comparison, made[0]).priority = priority
        if has_rounds:
            session.add(
                Round(
                    project_id=project_id,
                    number=1,
                    state=RoundState.LABELING,
                    plan={},
                    created_at=now(session),
                )
            )
    page = lead.get(f"/p/desk/comparisons/{made[0]}", headers={"accept": "text/html"}).text
    queue = page[page.index("In the queue") :]
    before, folded = queue.split("<summary>Change its priority</summary>")
    assert before.split("are open.")[1].split("</p>")[0].strip() == said
    assert f'value="{priority}"' in folded


def test_k_changes_while_people_work(
    lead: TestClient, database: Database, desk: Any, work: Callable[..., int]
) -> None:
    work(0), work(1)
    assert lead.post(f"{API}/overlap", json={"overlap": 3}).json() == {"changed": 3}
    with database.reader() as session:
        rows = session.execute(select(Comparison.overlap, Comparison.open_slots)).all()
        assert sorted(tuple(row) for row in rows) == [(3, 1), (3, 3), (3, 3)]
    page = lead.post("/p/desk/comparisons/overlap", data={"overlap": "1"})
    assert page.status_code == 303
    with database.reader() as session:
        rows = session.execute(select(Comparison.overlap, Comparison.open_slots)).all()
        assert sorted(tuple(row) for row in rows) == [(1, 1), (1, 1), (2, 0)]
        assert list(_events(session)).count("overlap.set") == 2
    assert lead.post(f"{API}/overlap", json={"overlap": 0}).status_code == 422


def test_what_is_withdrawn_can_come_back(
    lead: TestClient, database: Database, desk: Any, work: Callable[..., int]
) -> None:
    _, people, made = desk
    work(0)
    url = f"{API}/comparisons/{made[0]}/withdrawal"
    assert lead.put(url).json()["is_withdrawn"] is True
    with database.reader() as session:
        assert _live(session, people[0]) == []
    assert work(1) == made[1]
    assert "Return to the queue" in lead.get(f"/p/desk/comparisons/{made[0]}").text
    state = lead.delete(url).json()
    assert (state["is_withdrawn"], state["open"]) == (False, 2)
    assert work(2) == made[0]
    with database.reader() as session:
        assert {"comparison.withdraw", "comparison.restore"} <= set(_events(session))


def test_what_was_asked_again_stays_withdrawn(lead: TestClient, desk: Any) -> None:
    _, _, made = desk
    assert lead.post(f"/p/desk/comparisons/{made[0]}/again").status_code == 303
    refused = lead.delete(f"{API}/comparisons/{made[0]}/withdrawal")
    assert refused.status_code == 409
    assert "asked again" in refused.json()["detail"]
