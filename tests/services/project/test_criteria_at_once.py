"""Lists of criteria that are arranged at the same moment: one of them holds, never a mixture."""

import pytest
from sqlalchemy import select

from app.db import Database
from app.models import Project
from app.services.project import criteria
from app.services.project.criteria import CriterionSettings
from tests.services import sample
from tests.services.people.test_at_once import at_once


@pytest.mark.services
def test_the_last_of_eight_lists_holds(postgres_url: str) -> None:
    database = Database(postgres_url, pool_size=20)
    with database.transaction() as session:
        project_id = sample.make_project(session).id

    def arrange(number: int) -> str:
        with database.transaction() as session:
            project = session.scalars(select(Project)).one()
            wanted = [CriterionSettings(f"{number} {name}") for name in ("first", "second")]
            criteria.arrange(session, project, wanted, actor_id=None)
        return ""

    at_once(8, arrange)
    with database.reader() as session:
        names = [entry.name for entry in criteria.of_project(session, project_id)]
    number = names[0].partition(" ")[0]
    assert names == [f"{number} first", f"{number} second"]
    database.dispose()
