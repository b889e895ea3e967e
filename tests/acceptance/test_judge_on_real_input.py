"""A judge with a taste of its own beside simulated people, on real instructions and responses."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.domain.judges.servers import AllowedServer
from app.services.project import projects
from app.settings import Settings
from app.simulation.labelers import SimulatedLabeler
from app.simulation.runner import Member, Panel
from tests import judge_server
from tests.acceptance import real
from tests.acceptance.real import Office
from tests.worker.runs import judged

pytestmark = real.needed
COMPARISONS = 60


@pytest.fixture
def office(application: Any, database: Database) -> Iterator[Office]:
    with real.opened(application, database) as found:
        yield found


def taste(_prompt: str, text: str) -> float:
    return -abs(math.log((len(text.split()) + 5) / 130))


def own_taste(prompt: str, text: str) -> float:
    """Add noise that is fixed for a text."""
    digest = hashlib.sha256(text.strip().encode()).digest()
    return taste(prompt, text) + 0.6 * (digest[0] / 255 - 0.5)


def test_a_judge_is_measured_beside_people_without_touching_their_figures(
    office: Office, database: Database, application: Any, settings: Settings, tmp_path: Path
) -> None:
    office.make_project("alpaca", judgment_kind="pick", k=2, overlap=2)
    office.take_in("alpaca", real.ALPACA)
    assert office.lead.post("/projects/alpaca/comparisons", {"most": COMPARISONS})["made"] > 50
    members = [
        Member(SimulatedLabeler(name, taste, flip_rate=0.1, temperature=0.2, seed=3), token)
        for name, token in office.tokens.items()
    ]
    panel = Panel(office.url, "alpaca", members, stays=False)
    panel.start()
    assert panel.wait().judged == 2 * COMPARISONS
    before = office.lead.get("/projects/alpaca/agreement")
    with judge_server.serving(taste=own_taste, pull=0.15) as server:
        allowed = {"judge_servers": server.url}
        application.state.settings = settings.model_copy(update=allowed)
        with database.transaction() as session:
            project = projects.by_slug(session, "alpaca")
            judge_id = judged.make_judge(session, project, server.url).id
        address = f"/projects/alpaca/judges/{judge_id}"
        office.lead.post(f"{address}/compare", {"count": COMPARISONS})
        result = judged.run(database, tmp_path, AllowedServer(server.url))
    assert (result["judged"], result["malformed"], result["refused"]) == (COMPARISONS, 0, 0)
    found = office.lead.get(address)
    agreement, consistency = (found["measures"][name] for name in ("agreement", "consistency"))
    assert agreement["interval"]["low"] > 0.5, "it shares people's taste, and the interval says so"
    assert agreement["value"] < 0.98
    assert 0.5 < consistency["value"] < 1.0
    assert found["measures"]["first_place"]["value"] > 0.5
    assert found["totals"]["cost"] > 0
    assert found["why_not_alone"] == ""
    assert office.lead.get("/projects/alpaca/agreement") == before
