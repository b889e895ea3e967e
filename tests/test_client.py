"""The typed client against a served application."""

from typing import Any

import pytest
from sqlalchemy import select

from app import client as client_module
from app.api_types import ApiJudgment, ApiSubmission
from app.client import Client, new_key
from app.db import Database
from app.models import User
from app.services.people import accounts
from tests.live import serve
from tests.services import sample, sample_votes


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
        project, people = sample_votes.make_project(session)
        for _ in range(20):
            comparison = sample_votes.make_comparison(session, project)
            for person in people[:2]:
                sample_votes.vote(session, comparison, person, preferred="a")
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


def test_the_client_lists_rows_through_every_page_and_edits_prompts(
    application: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAGE", 2)
    with database.transaction() as session:
        project, people = sample_votes.make_project(session, labelers=2)
        for _ in range(3):
            comparison = sample_votes.make_comparison(session, project)
            for person in people:
                sample_votes.vote(session, comparison, person, preferred="a")
        owner = accounts.members(session, project.id)[0].user
        token = accounts.create_token(session, owner, name="test", scopes=["write"]).secret
        slug = project.slug
    with serve(application) as url, Client(url, token) as client:
        desk = client.project(slug)
        assert len(list(desk.comparisons(texts=True))) == 3
        judgments = list(desk.judgments())
        assert len({judgment.id for judgment in judgments}) == 6
        assert len(list(desk.judgments(labeler=judgments[0].labeler))) == 3
        assert {row.chosen.position for row in desk.preferences()} == {0}
        edited = desk.edit_prompts("tag", "new", ids=[judgments[0].prompt_id])
        assert (edited.selected, edited.changed) == (1, 1)
        assert len(list(desk.judgments(tag="new"))) == 2
        assert edited.edit is not None
        assert desk.undo_prompt_edit(edited.edit["id"]) == {"restored": 1, "left": 0}
