from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.models import Project
from tests.services.rounds.stages import make_project


@pytest.fixture
def work(any_database: Database) -> Iterator[Session]:
    """Give a writing session on a database of each kind in turn."""
    with any_database.transaction() as session:
        yield session


@pytest.fixture
def project(work: Session) -> Project:
    """Give a project that a round can be launched in."""
    return make_project(work)
