import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError, TimeoutError

from app.services.jobs.job_leases import ClaimedJob
from worker.launcher import HostGroup
from worker.orders import Order, Orders
from worker.outages import is_outage
from worker.ticket import Places, Servers, Ticket


def test_a_ticket_survives_the_pipe_as_one_line() -> None:
    claimed = ClaimedJob(3, 7, "sft", {"text": "two\nlines", "n": [1]}, None, 5)
    servers = Servers(("http://127.0.0.1:8000/v1",), "a key", adapter_folder="/adapters")
    group = HostGroup(2, "gpu-1:29400")
    places = Places("s3://bucket", Path("/work"), "cuda", servers, 4, group=group)
    ticket = Ticket(claimed, "sqlite:////tmp/a", places, 12)
    assert "a key" not in repr(ticket)
    line = ticket.to_line()
    assert line.count("\n") == 1
    assert Ticket.from_line(line) == ticket


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("q", {}, sqlite3.OperationalError("database is locked")), True),
        (OperationalError("q", {}, sqlite3.OperationalError("no such table: job")), False),
        (OperationalError("q", {}, ConnectionError("server closed the connection")), True),
        (ProgrammingError("q", {}, ConnectionError("no")), False),
        (TimeoutError("no connection in the pool"), True),
        (ValueError("database is locked"), False),
    ],
)
def test_an_outage_is_told_from_a_wrong_statement(error: Exception, expected: bool) -> None:
    assert is_outage(error) is expected


@pytest.mark.parametrize(
    ("given", "stands"),
    [
        (["stop_here", "preempt", "stop_here"], "preempt"),
        (["preempt", "cancel"], "cancel"),
        (["cancel", "preempt"], "cancel"),
    ],
)
def test_the_strongest_order_stands(given: list[Order], stands: Order) -> None:
    orders = Orders()
    for order in given:
        orders.give(order)
    assert orders.order == stands
