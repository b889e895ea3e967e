"""Projects by id, and slugs that nobody has taken."""

import pytest
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.services.project import projects
from tests.services.sample_votes import make_project


def test_projects_are_found_and_named_by_id(session: Session) -> None:
    project, _ = make_project(session)
    assert projects.get(session, project.id) == project
    assert projects.names(session, {project.id, project.id + 1}) == {project.id: project.name}
    with pytest.raises(NotFound):
        projects.get(session, project.id + 1)


def test_a_taken_slug_gets_a_number(session: Session) -> None:
    assert projects.free_slug(session, "Help Desk") == "help-desk"
    make_project(session, slug="help-desk")
    assert projects.free_slug(session, "Help Desk") == "help-desk-2"
