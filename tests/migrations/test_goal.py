"""Projects that exist when goals come train in rounds; going back loses nothing but the goal."""

from app.db import Database, schema
from app.domain.goals import Goal
from app.models import Project
from tests.services import sample

BEFORE = "3c8d51f7a92e"


def test_a_project_without_a_goal_trains(any_database: Database) -> None:
    with any_database.transaction() as session:
        sample.make_project(session, slug="desk", goal=Goal.COLLECT)
    schema.downgrade(any_database.engine, BEFORE)
    schema.upgrade(any_database.engine)
    with any_database.reader() as session:
        project = session.query(Project).one()
        assert (project.slug, project.goal) == ("desk", Goal.TRAIN)
        assert project.trains
