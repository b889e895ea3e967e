"""The typed client against a served application."""

from typing import Any

from sqlalchemy import select

from app.client import ApiJudgment, ApiSubmission, Client, new_key
from app.db import Database
from app.models import User
from app.services.people import accounts
from tests.live import serve
from tests.services import sample
from tests.services.sample_votes import make_comparison, make_project, vote


def test_the_client_changes_and_takes_back_what_was_judged(
    application: Any, database: Database
) -> None:
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk")
        sample.make_comparison(session, project)
        user = session.get_one(User, sample.make_labelers(session, project, 1)[0])
        token = accounts.create_token(session, user, name="test", scopes=["label"]).secret
    with serve(application) as url, Client(url, token) as client:
        desk = client.project("desk")
        (leased,) = desk.claim().assignments
        answer = ApiJudgment(kind="pick", preferred="a", strength=2)
        given = ApiSubmission(
            assignment_id=leased.id, lease_token=leased.lease_token, key=new_key(), answer=answer
        )
        first = desk.submit(given)
        changed = desk.revise(
            first["judgment_id"], ApiJudgment(kind="pick", preferred="b"), comment="Read again."
        )
        (entry,) = desk.history()
        assert (entry["answer"]["preferred"], entry["comment"]) == ("b", "Read again.")
        assert (entry["judgment_id"], entry["revision"]) == (changed["judgment_id"], 2)
        desk.retract(changed["judgment_id"])
        assert [one["is_retracted"] for one in desk.history()] == [True]
        assert desk.history(before=leased.id) == []


def test_the_client_puts_labeler_weights_to_use_and_takes_them_back(
    application: Any, database: Database
) -> None:
    with database.transaction() as session:
        project, people = make_project(session)
        for _ in range(20):
            comparison = make_comparison(session, project)
            for person in people[:2]:
                vote(session, comparison, person, preferred="a")
        lead = session.scalars(select(User).where(User.name == "Owner")).one()
        token = accounts.create_token(session, lead, name="test", scopes=["read", "write"]).secret
    with serve(application) as url, Client(url, token) as client:
        desk = client.project(project.slug)
        assert desk.weights_in_use().weights == {}
        assert desk.use_weights().weights == {"L2": 1.0, "L3": 1.0}
        changed = desk.use_weights({"L2": 0.5})
        assert (changed.weights, changed.by) == ({"L2": 0.5}, "Owner")
        assert desk.take_back_weights().weights == {"L2": 1.0, "L3": 1.0}
        assert desk.take_back_weights().weights == {}
