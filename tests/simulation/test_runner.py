"""Panels of simulated labelers at work through the public API."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from app.api_types import ApiAssignment, ApiCandidate, ApiMessage
from app.client import Client, RequestRefused, new_key
from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Comparison, Completion, Judgment, Role
from app.services.people import accounts
from app.services.project import criteria, projects
from app.simulation.labelers import SimulatedJudgment, SimulatedLabeler, panel
from app.simulation.runner import Member, Panel, PanelTotals, submission_of, view_of, work_through
from tests.live import serve
from tests.services import sample

LONGER_IS_BETTER = SimulatedLabeler("sim", lambda _prompt, text: float(len(text)))


def _panel(
    database: Database, labelers: Sequence[SimulatedLabeler], comparisons: int, **columns: Any
) -> list[Member]:
    members = []
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk", **columns)
        for labeler in labelers:
            user = accounts.create_user(
                session,
                email=f"{labeler.name}@example.org",
                name=labeler.name,
                password=None,
                is_simulated=True,
            )
            accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
            token = accounts.create_token(session, user, name="panel", scopes=["label"])
            members.append(Member(labeler, token.secret))
        for _ in range(comparisons):
            sample.make_comparison(session, project)
    return members


def _assignment(kind: str, positions: Sequence[int], **rules: Any) -> ApiAssignment:
    defaults: dict[str, Any] = {"strengths": [2, 3], "allow_tie": True, "allow_both_bad": True}
    return ApiAssignment(
        id=7,
        comparison_id=9,
        lease_token="token",
        expires_at=sample.Clock().at,
        kind=kind,
        messages=[ApiMessage(role="user", content="Why?")],
        candidates=[ApiCandidate(position=one, text=f"text {one}") for one in positions],
        **(defaults | rules),
    )


def test_a_panel_gives_every_comparison_its_judgments(application: Any, database: Database) -> None:
    members = _panel(database, panel(LONGER_IS_BETTER, 4), 20)
    with serve(application) as url:
        work = Panel(url, "desk", members, stays=False)
        work.start()
        totals = work.wait()
    assert (totals.judged, totals.refused, totals.surplus) == (60, 0, 0)
    with database.reader() as session:
        done = session.scalars(select(Comparison.done_slots)).all()
    assert list(done) == [3] * 20


def test_a_panel_that_stays_leaves_when_told_to(application: Any, database: Database) -> None:
    members = _panel(database, panel(LONGER_IS_BETTER, 2), 2, overlap=2)
    with serve(application) as url:
        work = Panel(url, "desk", members, stays=True)
        work.start()
        while work.totals.judged < 4:
            threading.Event().wait(0.02)
        assert work.stop().judged == 4


@pytest.mark.parametrize(("kind", "k"), [(JudgmentKind.PICK, 2), (JudgmentKind.RANK, 4)])
def test_what_a_labeler_wants_arrives_whatever_the_order_shown(
    application: Any, database: Database, kind: JudgmentKind, k: int
) -> None:
    taste = SimulatedLabeler("sim", lambda _prompt, text: float(text.rsplit(".", 1)[1]))
    members = _panel(database, [taste], 6, judgment_kind=kind, k=k, overlap=1)
    with serve(application) as url, Client(url, members[0].token) as client:
        work_through(client.project("desk"), taste, PanelTotals(), threading.Event())
    with database.reader() as session:
        judgments = session.scalars(select(Judgment)).all()
        assert len(judgments) == 6
        for judgment in judgments:
            texts = sample.texts_of(session, judgment.comparison_id)
            last = f".{k - 1}"
            best = (
                "ab".index(judgment.preferred or "")
                if kind is JudgmentKind.PICK
                else (judgment.ranking or []).index(1)
            )
            assert texts[best].endswith(last)


@pytest.mark.parametrize(
    ("kind", "k", "judged"), [("rate", 3, 2), ("thumbs", 1, 2), ("write", 0, 2), ("edit", 1, 1)]
)
def test_every_kind_is_judged_by_the_hidden_utility(
    application: Any, database: Database, kind: str, k: int, judged: int
) -> None:
    taste = SimulatedLabeler(
        "sim",
        lambda _prompt, text: float(text.rsplit(".", 1)[-1]) if "." in text else 0.0,
        knows=lambda _prompt: "Known.9",
    )
    columns = {"judgment_kind": JudgmentKind(kind), "k": k, "overlap": 1, "rating_max": 7}
    members = _panel(database, [taste], 2, **columns)
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        given = [criteria.CriterionSettings("true"), criteria.CriterionSettings("kind")]
        criteria.arrange(session, project, given, actor_id=None)
        if kind == "edit":  # one that is better than what is known
            text = session.scalars(select(Completion).order_by(Completion.id)).first()
            assert text is not None
            text.text = "Better.10"
    totals = PanelTotals()
    with serve(application) as url, Client(url, members[0].token) as client:
        work_through(client.project("desk"), taste, totals, threading.Event())
    assert (totals.judged, totals.skipped, totals.refused) == (judged, 2 - judged, 0)
    with database.reader() as session:
        for said in session.scalars(select(Judgment)):
            texts = sample.texts_of(session, said.comparison_id)
            if kind == "rate":  # the utilities 0, 1 and 2 on a scale of seven from -2 to 2
                wanted = [{"0": 4, "1": 5, "2": 7}[text[-1]] for text in texts]
                assert said.ratings == {"true": wanted, "kind": wanted}
            elif kind == "thumbs":
                assert said.thumb == "down"  # worth nothing, and only what is above 0 is liked
            else:
                assert said.text == "Known.9"


def test_a_strength_that_is_not_offered_becomes_the_nearest() -> None:
    assignment = _assignment("pick", [1, 0])
    for said, sent in ((1, 2), (2, 2), (3, 3), (4, 3)):
        judged = SimulatedJudgment(groups=((1,), (0,)), strength=said)
        answer = submission_of(assignment, judged).answer
        assert (answer.preferred, answer.strength) == ("b", sent)
    none = submission_of(_assignment("pick", [0, 1], strengths=[]), judged).answer
    assert none.strength is None


def test_groups_become_competition_ranks() -> None:
    judged = SimulatedJudgment(groups=((2,), (0, 3), (1,)))
    answer = submission_of(_assignment("rank", [3, 1, 0, 2]), judged).answer
    assert answer.ranking == [2, 4, 1, 2]


def test_a_labeler_meets_the_question_in_the_order_shown() -> None:
    question = view_of(_assignment("pick", [1, 0], allow_tie=False, strengths=[]))
    assert [one.key for one in question.shown] == [1, 0]
    assert not question.allows_ties
    assert not question.asks_strength


def test_the_client_says_what_the_server_refused(application: Any, database: Database) -> None:
    (member,) = _panel(database, [LONGER_IS_BETTER], 1)
    with serve(application) as url, Client(url, member.token) as client:
        project = client.project("desk")
        (assignment,) = project.claim().assignments
        assert project.queue().held == 1
        judged = SimulatedJudgment(groups=((0,), (1,)))
        given = submission_of(assignment, judged).model_copy(update={"lease_token": "guess"})
        with pytest.raises(RequestRefused, match="leased again"):
            project.submit(given)
        project.submit(submission_of(assignment, judged))
        opened = project.undo(new_key())
        assert opened is not None
        assert opened.id == assignment.id
        with pytest.raises(RequestRefused) as refused:
            client.get("/projects/other/assignments/queue")
        assert refused.value.status == 404
