"""The queue under many hands over HTTP: 24 labelers, three judgments of each comparison.

With fewer comparisons more hands meet at each, and they meet at the last ones for longer; the slow
run has the number that is promised.
"""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select

from app.db import Database
from app.models import Judgment, Role
from app.services.people import accounts
from app.settings import Settings
from app.simulation.labelers import SimulatedLabeler, panel
from app.simulation.runner import Member, Panel
from tests.conftest import quick_app
from tests.live import serve
from tests.services import sample

LABELERS, OVERLAP = 24, 3


@pytest.fixture(params=[80, pytest.param(400, marks=pytest.mark.slow)])
def comparisons(request: pytest.FixtureRequest) -> int:
    """Give the number of comparisons."""
    return int(request.param)


@pytest.fixture
def members(any_database: Database, comparisons: int) -> list[Member]:
    labelers = panel(SimulatedLabeler("sim", lambda _prompt, text: float(len(text))), LABELERS)
    found = []
    with any_database.transaction() as session:
        project = sample.make_project(session, slug="desk", overlap=OVERLAP)
        for labeler in labelers:
            user = accounts.create_user(
                session, email=f"{labeler.name}@example.org", name=labeler.name, password=None
            )
            accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
            token = accounts.create_token(session, user, name="panel", scopes=["label"])
            found.append(Member(labeler, token.secret))
        for _ in range(comparisons):
            sample.make_comparison(session, project)
    return found


def test_24_labelers_over_http_give_every_comparison_exactly_k_judgments(
    any_database: Database, any_url: str, members: list[Member], comparisons: int, tmp_path: Any
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=any_url, secret_key="s" * 40)
    with serve(quick_app(settings, any_database)) as url:
        work = Panel(url, "desk", members, stays=False)
        work.start()
        totals = work.wait()
    assert (totals.judged, totals.refused) == (comparisons * OVERLAP, 0)
    with any_database.reader() as session:
        active = session.execute(
            select(Judgment.comparison_id, Judgment.labeler_id).where(Judgment.is_current)
        ).all()
    assert len(active) == len(set(active)) == comparisons * OVERLAP
    assert set(Counter(comparison for comparison, _ in active).values()) == {OVERLAP}
