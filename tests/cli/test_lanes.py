"""A job of one queue never waits for one of the other: each has a worker of its own."""

from pathlib import Path

import pytest
import yaml

from app.cli.processes import LANES
from app.queue import QUEUES

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


def _of_compose() -> list[tuple[str, ...]]:
    services = yaml.safe_load(COMPOSE.read_text())["services"].values()
    commands = [service.get("command", ())[1:] for service in services]
    return [tuple(one) for one in commands if one[:1] == ["worker"]]


@pytest.mark.parametrize("lanes", [list(LANES.values()), _of_compose()], ids=["up", "compose"])
def test_every_queue_has_a_worker_of_its_own(lanes: list[tuple[str, ...]]) -> None:
    assert sorted(lanes) == sorted(("worker", "--queues", queue) for queue in QUEUES)
